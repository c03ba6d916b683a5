"""Is an event that comes again under a known id the same event? The fields that its sender gives decide.

`occurred_at` takes no part: clients that leave it to their library (Hook0's among them) send another time with every
attempt of the same event. Neither does what we add: the time of receipt, the address, the checksum.
"""

from collections.abc import Mapping
from typing import Protocol


class Content(Protocol):
    """An event, accepted just now or read from the archive."""

    @property
    def event_type(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def payload_content_type(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


def fingerprint(content: Content) -> int:
    """64 bits that differ for different contents; for comparing within this process only (SipHash with its own key)."""
    return hash(
        (
            content.event_type,
            content.payload,
            content.payload_content_type,
            frozenset(content.labels.items()),
            frozenset(content.metadata.items()),
        )
    )
