"""`Idempotency-Key` of a batch: the same key with the same events is the same batch again, with others a mistake.

Events without an id get ids that follow from the key and their place, so that events accepted under a key are known as
long as the ids are: the archived event with such an id is compared with the new one. This process also remembers the
batch as a whole, so that one with more or fewer events is found too.
(draft-ietf-httpapi-idempotency-key-header §2.7)
"""

from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from pipeline.gateway.event_ids import EventIds
from pipeline.gateway.ingest import EventContent
from pipeline.gateway.problems import Problem

MARK = "Idempotency-Key "  # no event id starts with it


def derive_event_id(application_id: str, key: str, index: int) -> str:
    """The id of the event at a place of the batch under `key`."""
    return str(uuid5(UUID(application_id), f"{key}/{index}"))


class KeyedBatch:
    """A batch under a key. `contents`: its events; what cannot be read as one as it came."""

    def __init__(self, application_id: str, key: str, contents: Sequence[EventContent | msgspec.Raw]) -> None:
        self._key = (application_id, MARK + key)
        self._content = hash(tuple(map(_fingerprint, contents)))

    def refuse_another(self, event_ids: EventIds) -> None:
        """Check the key of a batch. Raises `Problem` when this process accepted another batch under it."""
        known = event_ids.find_content(self._key)
        if known is not None and known != self._content:
            raise Problem("IdempotencyKeyReused")

    def remember(self, event_ids: EventIds) -> None:
        """Remember a batch that was accepted."""
        event_ids.remember(self._key, self._content)


def _fingerprint(content: EventContent | msgspec.Raw) -> int:
    """Sum up content like `pipeline.core.events.fingerprint`, even of an event that cannot be accepted."""
    if isinstance(content, msgspec.Raw):
        return hash(bytes(content))
    return hash(
        (
            content.event_id,
            content.event_type,
            content.payload,
            content.payload_content_type,
            frozenset(content.labels.items()),
            frozenset((content.metadata or {}).items()),
        )
    )
