"""Claim checks: the payload is found, shared, checked; what is missing or away is said."""

import asyncio
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.http.client.exchange import Answer, ErrorClass, Failure
from connectors.http.payloads import payloads
from connectors.http.payloads.sources import Beside, SourceAwayError
from pipeline.core.events.records import Delivery
from pipeline.core.log.checksum import sum_content
from tests.support.eventually import eventually
from tests.support.outbound import make_delivery, make_endpoint
from tests.unit.connectors.http.sink_alone import SPOOL_BYTES, ScriptedClient, SinkAlone

PAYLOAD = b"p" * 100_000


class ScriptedSource:
    """Answers as it is told, and counts how often it is asked."""

    def __init__(self, *answers: bytes | str | Exception, name: str = "log", others: tuple[Beside, ...] = ()) -> None:
        self.name = name
        self.answers = list(answers)
        self.others = list(others)
        self.asked = 0

    async def read(self, delivery: Delivery) -> tuple[bytes | str, list[Beside]]:
        self.asked += 1
        await asyncio.sleep(0)
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer, self.others

    async def close(self) -> None:
        """Nothing to close."""


def make_claim_check(payload: bytes = PAYLOAD, *, offset: int = 7, **fields: Any) -> Delivery:
    """A delivery whose payload is in the event's record."""
    plain = make_delivery(payload=b"", **fields)
    content = sum_content(plain.event_id, plain.event_type, plain.payload_content_type, payload)
    return make_delivery(
        payload=b"",
        payload_partition=3,
        payload_offset=offset,
        payload_bytes=len(payload),
        content_crc32=content,
        **fields,
    )


def make_many(number: int) -> list[Delivery]:
    """Deliveries of one event."""
    return [make_claim_check(delivery_id=f"00000000-0000-4000-8000-{each:012d}") for each in range(number)]


async def test_all_deliveries_of_an_event_share_one_read() -> None:
    """Twenty at once: each request has the payload, which was read once, and none of them has a copy."""
    source = ScriptedSource(PAYLOAD)
    alone = SinkAlone(sources=[source])
    await asyncio.gather(*(alone.put(each) for each in make_many(20)))
    await alone.put(make_claim_check(delivery_id="00000000-0000-4000-8000-000000000099"))

    bodies = [request.body for request in alone.client.requests]
    assert 21 == len(bodies)
    assert all(isinstance(body, memoryview) and bytes(body) == PAYLOAD for body in bodies)
    assert 1 == source.asked
    assert ["attempts"] * 21 == alone.log.names()


async def test_a_failed_attempt_leaves_the_payload_where_it_is() -> None:
    """The retry and the dead letter name the event as the delivery did."""
    alone = SinkAlone(
        make_endpoint("https://example.com/", retry_delays_s=[1.0]),
        client=ScriptedClient(Failure(error_class=ErrorClass.CONNECTION, detail="no")),
        sources=[ScriptedSource(PAYLOAD)],
    )
    delivery = make_claim_check()
    await alone.put(delivery)
    (retry,) = alone.log.retries()
    await alone.put(retry)

    assert (2, b"", 3, 7, len(PAYLOAD), delivery.content_crc32) == (
        retry.attempt_number,
        retry.payload,
        retry.payload_partition,
        retry.payload_offset,
        retry.payload_bytes,
        retry.content_crc32,
    )
    assert ["exhausted"] == [letter.reason for letter in alone.log.letters()]
    assert len(alone.log.letters()[0].source_value or b"") < 1000


async def test_the_archive_has_what_the_log_does_not() -> None:
    """Sources are asked in their order."""
    log, archive = ScriptedSource("gone"), ScriptedSource(PAYLOAD, name="archive")
    alone = SinkAlone(sources=[log, archive])
    await alone.put(make_claim_check())

    assert [PAYLOAD] == [request.body for request in alone.client.requests]
    assert (1, 1) == (log.asked, archive.asked)


@pytest.mark.parametrize(
    ("answer", "reason"), [("it is not in the log any more", "payload_gone"), (b"other bytes", "corrupt")]
)
async def test_a_payload_that_is_nowhere_is_a_dead_letter(answer: bytes | str, reason: str) -> None:
    """Nothing is sent, least of all other bytes; the letter says what each source has."""
    alone = SinkAlone(sources=[ScriptedSource(answer), ScriptedSource("the archive does not have the event")])
    await alone.put(make_claim_check())

    assert [] == alone.client.requests
    (letter,) = alone.log.letters()
    assert reason == letter.reason
    assert "the archive does not have the event" in letter.detail


@pytest.mark.parametrize("is_old_first", [True, False])
async def test_an_event_at_the_place_of_another_is_not_sent_for_it(is_old_first: bool) -> None:
    """The topic was made again: a delivery from before names a place that has another application's event now.

    Neither has the other one's payload, nor its fate.
    """
    alone = SinkAlone(sources=[ScriptedSource(PAYLOAD)])
    old = make_claim_check(b"q" * len(PAYLOAD), delivery_id="00000000-0000-4000-8000-000000000001")
    new = make_claim_check(delivery_id="00000000-0000-4000-8000-000000000002")
    await asyncio.gather(*(alone.put(each) for each in ((old, new) if is_old_first else (new, old))))

    assert [PAYLOAD] == [bytes(request.body) for request in alone.client.requests]
    assert ["attempts", "dead"] == sorted(alone.log.names())


async def test_a_source_that_is_away_is_waited_for() -> None:
    """The delivery is parked, longer each time, and uses up no attempt: the payload may be in the silent source."""
    alone = SinkAlone(sources=[ScriptedSource(SourceAwayError("silent")), ScriptedSource("not here")])
    with capture_logs():
        await alone.put(make_claim_check())

    assert ["retries.1s"] == alone.log.names()
    (parked,) = alone.log.retries()
    assert (1, 1, 7) == (parked.attempt_number, parked.parked_times, parked.payload_offset)


async def test_altered_bytes_of_the_spool_are_read_again() -> None:
    """A payload in the spool is compared with its checksum before each request."""
    source = ScriptedSource(PAYLOAD)
    alone = SinkAlone(sources=[source])
    first, second = make_many(2)
    await alone.put(first)
    spool = alone.sink._delivering._payloads._spool  # noqa: SLF001 - a disk that alters bytes
    spooled = spool.find((3, 7))
    assert spooled is not None
    assert spooled.at is not None
    assert spool.write(spooled.at + 10, b"!") is not None
    with capture_logs() as lines:
        await alone.put(second)

    assert PAYLOAD == alone.client.requests[1].body
    assert 2 == source.asked
    assert ["spool_altered"] == [line["event"] for line in lines]


async def test_events_of_one_batch_are_read_together() -> None:
    """A payload that came along is found in the spool."""
    content = make_claim_check(b"other", offset=8)
    source = ScriptedSource(PAYLOAD, others=(Beside((3, 8), content.application_id, b"other"),))
    alone = SinkAlone(sources=[source])
    await alone.put(make_claim_check())
    await alone.put(make_claim_check(b"other", offset=8, delivery_id="00000000-0000-4000-8000-000000000098"))

    assert [PAYLOAD, b"other"] == [request.body for request in alone.client.requests]
    assert 1 == source.asked


class HangingClient(ScriptedClient):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def send(self, request: Any) -> Any:
        self.requests.append(request)
        await self.may_answer.wait()
        return Answer(status=200, headers={}, body=b"")


async def test_requests_that_hang_leave_room_for_another_application() -> None:
    """One application's open requests use half of the spool at most; what is above that waits in a retry topic."""
    size = SPOOL_BYTES // 8
    client = HangingClient()
    payload = b"x" * size
    alone = SinkAlone(client=client, sources=[ScriptedSource(payload)])
    puts = [
        asyncio.create_task(
            alone.put(make_claim_check(payload, offset=each, delivery_id=f"00000000-0000-4000-8000-{each:012d}"))
        )
        for each in range(8)
    ]

    await eventually(lambda: (4, 4) == (len(client.requests), len(alone.log.retries())))
    assert all(0 == parked.parked_times for parked in alone.log.retries())
    client.may_answer.set()
    await asyncio.gather(*puts)


async def test_a_disk_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads are sent from memory meanwhile; the place that is being written to is no other payload's until then."""
    monkeypatch.setattr(payloads, "SPOOL_WRITE_S", 0.05)
    alone = SinkAlone(sources=[ScriptedSource(PAYLOAD)])
    spool = alone.sink._delivering._payloads._spool  # noqa: SLF001 - its disk is in the test's hands
    may_write, write = threading.Event(), spool.write

    def hang(at: int, payload: bytes) -> memoryview | None:
        may_write.wait(30)
        return write(at, payload)

    monkeypatch.setattr(spool, "write", hang)
    with capture_logs() as lines:
        await alone.put(make_claim_check())
        await alone.put(make_claim_check(offset=8, delivery_id="00000000-0000-4000-8000-000000000098"))

    assert [PAYLOAD, PAYLOAD] == [request.body for request in alone.client.requests]
    assert ["spool_hangs"] == [line["event"] for line in lines]
    assert spool.reserve(SPOOL_BYTES - 2 * len(PAYLOAD), may_evict=False) != 0
    may_write.set()

    async def send_another() -> bool:
        offset = 9 + len(alone.client.requests)
        await alone.put(make_claim_check(offset=offset, delivery_id=f"00000000-0000-4000-8000-{offset:012d}"))
        return isinstance(alone.client.requests[-1].body, memoryview)

    await eventually(send_another)
