"""The whole story of a delivery, without Kafka and without sockets."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import Answer, ErrorClass, Failure
from connectors.http.client.tls import TlsContexts
from connectors.http.outbox import WriteError
from connectors.http.steps import Steps
from connectors.sink import LogRecord
from pipeline.config import DeliverConfig
from pipeline.core.events.records import Endpoint
from pipeline.kafka.producer import KafkaUnavailableError
from tests.support.outbound import NOW_US, make_delivery, make_endpoint
from tests.unit.connectors.http.sink_alone import ScriptedClient, SinkAlone, make_record

pytestmark = pytest.mark.usefixtures("quiet")
FAILURE = Failure(error_class=ErrorClass.CONNECTION, detail="could not connect")


@pytest.fixture
def quiet() -> Iterator[None]:
    """Tracebacks are captured: structlog, while it is not configured, takes half a second to print one."""
    with capture_logs():
        yield


async def test_a_success_is_one_attempt() -> None:
    """Nothing else is written."""
    alone = SinkAlone()
    await alone.put()

    assert ["attempts"] == alone.log.names()
    (attempt,) = alone.log.attempts()
    assert ("succeeded", 200, None) == (attempt.outcome, attempt.response_status, attempt.next_due_at_us)


async def test_a_failure_is_a_retry_and_then_an_attempt() -> None:
    """The retry is written before the attempt: a crash in between repeats the attempt, and loses nothing."""
    alone = SinkAlone(client=ScriptedClient(FAILURE))
    await alone.put()

    assert ["retries.1s", "attempts"] == alone.log.names()
    (attempt,), (retry,) = alone.log.attempts(), alone.log.retries()
    assert ("failed", "E_CONNECTION", retry.due_at_us) == (
        attempt.outcome,
        attempt.error_class,
        attempt.next_due_at_us,
    )
    assert 2 == retry.attempt_number


async def test_the_last_failure_is_a_dead_letter() -> None:
    """The dead letter is written before the attempt, which has no next one."""
    alone = SinkAlone(make_endpoint("https://example.com/", retry_delays_s=[]), client=ScriptedClient(FAILURE))
    await alone.put()

    assert ["dead", "attempts"] == alone.log.names()
    assert ["exhausted"] == [letter.reason for letter in alone.log.letters()]


async def test_an_attempt_begins_after_its_matching() -> None:
    """A clock that is some milliseconds behind the matcher's: no attempt ends before its delivery existed."""
    alone = SinkAlone(client=ScriptedClient(FAILURE), clock_us=lambda: NOW_US - 5000)
    await alone.put(make_delivery())

    (attempt,) = alone.log.attempts()
    (retry,) = alone.log.retries()
    assert NOW_US == attempt.started_at_us <= attempt.finished_at_us
    assert attempt.next_due_at_us == retry.due_at_us


async def test_a_copy_is_not_sent() -> None:
    """Neither while the first is under way nor afterwards; both records are settled."""
    alone = SinkAlone()
    await asyncio.gather(alone.put(), alone.put())
    await alone.put()

    assert 1 == len(alone.client.requests)
    assert ["attempts"] == alone.log.names()


async def test_cancelled_when_disabled() -> None:
    """The delivery is cancelled without a request."""
    alone = SinkAlone(make_endpoint("https://example.com/", enabled=False))
    await alone.put()

    assert ["cancelled"] == [attempt.outcome for attempt in alone.log.attempts()]
    assert [] == alone.client.requests


async def test_what_cannot_be_read_is_a_dead_letter() -> None:
    """The record stays in the dead letter."""
    alone = SinkAlone()
    await alone.put(record=LogRecord("hookline.deliveries", 0, 0, b"k", b"junk", 0))

    assert [("undecodable", b"junk")] == [(letter.reason, letter.source_value) for letter in alone.log.letters()]


def fail(*_: Any, **__: Any) -> Any:
    raise TypeError("an unforeseen error")


class FailingEndpoints:
    """The view of endpoints, broken for one delivery."""

    def get(self, subscription_id: str) -> Endpoint | None:
        raise TypeError("an unforeseen error")

    async def wait_for(self, subscription_id: str, timeout_s: float) -> Endpoint | None:
        raise TypeError("an unforeseen error")


async def fail_async(*_: Any) -> Any:
    fail()


def client_that(**parts: Any) -> HttpClient:
    """A real client whose part fails. No socket is opened: the step before the failing one answers by itself."""
    return HttpClient(DeliverConfig(), **parts)


def fail_at(step: str) -> SinkAlone:
    """A sink in which one step raises an unforeseen error."""
    lookup: Callable[[str], list[str]] = lambda _: ["203.0.114.1"]  # noqa: E731 - one line, used in three
    match step:
        case "endpoint":
            return SinkAlone(endpoints=FailingEndpoints())
        case "compile":
            return SinkAlone(make_endpoint("https://example.com/", headers={"X-A": None}))
        case "build" | "judge" | "decide" | "describe":
            client = ScriptedClient(FAILURE) if step == "decide" else None
            return SinkAlone(client=client, steps=Steps(**{step: fail}))
        case "resolve":
            return SinkAlone(client=client_that(lookup=fail))
        case "connect":
            return SinkAlone(client=client_that(lookup=lookup, connect=fail_async))
        case "send":
            return SinkAlone(client=ScriptedClient(TypeError("an unforeseen error")))
        case _:
            raise AssertionError(step)


STEPS = ["endpoint", "compile", "build", "resolve", "connect", "send", "judge", "decide", "describe"]


@pytest.mark.parametrize("step", STEPS)
async def test_an_unforeseen_exception_is_a_failed_attempt(step: str) -> None:
    """The delivery is retried by the schedule, at any step, archived with its detail, and the sink goes on."""
    alone = fail_at(step)
    await alone.put()

    (attempt,), (retry,) = alone.log.attempts(), alone.log.retries()
    assert ("failed", "E_INTERNAL") == (attempt.outcome, attempt.error_class)
    assert "Error" in (attempt.error_detail or "")
    assert (2, retry.due_at_us) == (retry.attempt_number, attempt.next_due_at_us)
    assert ["attempts"] == alone.log.names()[1:]
    assert 1 == alone.metrics.registry.get_sample_value("hookline_internal_errors_total")


async def test_an_exception_while_tls_is_prepared() -> None:
    """The instance that was met: a certificate that one library reads and another one does not."""
    alone = SinkAlone(
        client=HttpClient(
            DeliverConfig(allow_private_addresses=True), lookup=lambda _: ["127.0.0.1"], connect=make_socket,
            tls=TlsContexts(build=fail),
        )
    )  # fmt: skip
    await alone.put()

    assert ["E_INTERNAL"] == [attempt.error_class for attempt in alone.log.attempts()]


async def test_an_exception_while_reading_is_a_dead_letter() -> None:
    """No delivery can be retried: the record is kept, and the partition moves on."""
    alone = SinkAlone(steps=Steps(read=fail))
    record = make_record(make_delivery())

    assert 0 == alone.sink.classify(record._replace(topic="hookline.retries.1s")).due_at_us
    await alone.put(record=record)
    assert ["internal"] == [letter.reason for letter in alone.log.letters()]


LONG_MAX = 2**63 - 1


@pytest.mark.parametrize("result", [Answer(status=200, headers={}, body=b""), FAILURE, TypeError("unforeseen")])
@pytest.mark.parametrize(
    "values",
    [
        {"delivery_id": "x"},
        {"attempt_number": -100},
        {"schedule_from": 1000},
        {"matched_at_us": LONG_MAX},
        {"parked_times": LONG_MAX},
        {"attempt_number": LONG_MAX, "schedule_from": LONG_MAX},
    ],
    ids=str,
)
async def test_a_delivery_with_impossible_values_is_settled(
    values: dict[str, Any], result: Failure | Answer | TypeError
) -> None:
    """A record that can be read, and has values that none of our processes writes, does not end the process."""
    alone = SinkAlone(client=ScriptedClient(result))
    record = make_record(msgspec.structs.replace(make_delivery(), **values))
    await alone.put(record=record)

    assert alone.log.names()[-1] in ("attempts", "dead")
    assert [record.value] * len(alone.log.letters()) == [letter.source_value for letter in alone.log.letters()]


async def test_an_internal_failure_says_nothing_about_the_endpoint() -> None:
    """No breaker opens, however often it happens."""
    alone = SinkAlone(client=ScriptedClient(TypeError("an unforeseen error")))
    for number in range(1, 41):
        await alone.put(make_delivery(attempt_number=number, schedule_from=number))

    assert 0 == alone.memory.gate(make_delivery().subscription_id.encode()).opened_until_us
    assert 40 == len(alone.log.attempts())


async def test_an_internal_failure_ends_with_the_schedule() -> None:
    """A poison delivery is not tried without end."""
    alone = SinkAlone(client=ScriptedClient(TypeError("an unforeseen error")))
    await alone.put(make_delivery(attempt_number=25))

    assert ["dead", "attempts"] == alone.log.names()


async def test_a_copy_of_a_delivery_that_failed_is_settled() -> None:
    """An unsettled copy would hold up its partition's commits for ever."""
    alone = SinkAlone(client=ScriptedClient(TypeError("an unforeseen error")))
    await asyncio.gather(alone.put(), alone.put())

    assert 1 == len(alone.log.attempts())


@pytest.mark.parametrize("result", [FAILURE, Answer(status=200, headers={}, body=b"")])
async def test_a_log_that_takes_nothing_ends_the_process(result: Failure | Answer) -> None:
    """A log that takes nothing is no failure of the delivery, and must not be recorded as one."""
    alone = SinkAlone(client=ScriptedClient(result))
    alone.log.error = KafkaUnavailableError("the log is full")

    with pytest.raises((WriteError, KafkaUnavailableError)):
        await alone.put()
    assert [] == alone.log.written


class NoSocket:
    """Stands for a connected socket until TLS begins."""

    def close(self) -> None: ...


async def make_socket(address: str, port: int) -> Any:
    return NoSocket()
