import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from pipeline.core.events.fingerprint import fingerprint
from pipeline.core.events.records import Event
from pipeline.gateway.batch_ingest import Candidate, Origin, accept_all
from pipeline.gateway.event_ids import Claim, EventIds
from pipeline.gateway.id_lookups import EventKey, Known
from pipeline.gateway.shared_room import SharedRoom
from pipeline.gateway.usage import EventUsage
from pipeline.metrics import Metrics


class BrokenProducer:
    """Raises an unforeseen error."""

    def send_bytes(self, _: Sequence[Any]) -> "asyncio.Future[None]":
        raise ZeroDivisionError


async def find_nothing(_: Sequence[EventKey]) -> Known:
    return {}


async def test_an_unforeseen_exception_accepts_nothing() -> None:
    """The ids of the batch are free again: sent again, the events are new."""
    event_ids = EventIds(find_nothing, recent_max=10, timeout_s=1)
    gateway: Any = SimpleNamespace(
        event_ids=event_ids,
        in_flight=SharedRoom(1, 1),
        routes=SimpleNamespace(organization_of=lambda _: None),
        settings=SimpleNamespace(kafka=SimpleNamespace(produce_timeout_s=1)),
        producer=BrokenProducer(),
        topics=SimpleNamespace(events=None),
        metrics=Metrics("gateway"),
        tracing=None,
        usage=EventUsage(None, cast("Any", None), cast("Any", None), cast("Any", None), clock_us=lambda: 0),
    )
    candidates = {}
    for index, origin in enumerate((Origin.GIVEN, Origin.KEY, Origin.MADE)):
        event = Event(
            application_id="a",
            event_id=str(uuid4()),
            event_type="a.b.c",
            payload=b"{}",
            payload_content_type="application/json",
            labels={"a": "b"},
            occurred_at_us=0,
            received_at_us=0,
        )
        candidates[index] = Candidate(event, origin, fingerprint(event), None)
    with pytest.raises(ZeroDivisionError):
        await accept_all(gateway, candidates, [{}] * 3, is_repeatable=False)

    assert [Claim.NEW] * 3 == [await event_ids.claim(each.key, each.content) for each in candidates.values()]
