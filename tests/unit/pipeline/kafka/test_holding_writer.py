"""Writing what must get into the log: proven before, held when it is refused, in order, and never dropped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pipeline.core.log.partition import locate_partition
from pipeline.kafka import holding_writer
from pipeline.kafka.failures import KafkaUnavailableError, RecordRefusedError, TopicRefusedError, ToSend
from pipeline.kafka.holding_writer import HoldingWriter, Replace
from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.support.eventually import eventually
from tests.unit.pipeline.kafka.scripted_log import ScriptedLog

TOPICS = declare_topics(prefix="t.", partitions=1, event_retention_s=3600)
KEY = b"k"


def record(value: bytes) -> ToSend:
    return (TOPICS.attempts, KEY, value)


def nothing_smaller(refused: ToSend, error: RecordRefusedError) -> list[ToSend] | None:
    return None


def note_in(replaced: list[ToSend]) -> Replace:
    """Replace each record by nothing, and note it."""

    def replace(refused: ToSend, error: RecordRefusedError) -> list[ToSend] | None:
        replaced.append(refused)
        return []

    return replace


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits between attempts are the product's own, only shorter."""
    for name in ("TICK_S", "RETRY_MIN_S", "RETRY_MAX_S"):
        monkeypatch.setattr(holding_writer, name, 0.001)


@contextlib.asynccontextmanager
async def run_writer(
    log: ScriptedLog, *, replace: Replace = nothing_smaller, prove: bool = True
) -> AsyncIterator[HoldingWriter]:
    writer = HoldingWriter(
        log, [TOPICS.attempts, TOPICS.dead], replace=replace, metrics=Metrics("test"), process="test"
    )
    running = asyncio.create_task(writer.run())
    try:
        if prove:
            await log.take()
            await log.take()
            await writer.wait_open()
            log.writes.clear()
        yield writer
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()


async def test_nothing_is_caused_before_every_topic_has_taken_a_probe() -> None:
    """A topic that refuses it is named with the reason, and asked again until it takes one."""
    log = ScriptedLog()
    async with run_writer(log, prove=False) as writer:
        await log.take()
        await log.refuse(TopicRefusedError("TOPIC_AUTHORIZATION_FAILED", topic=TOPICS.dead.name))
        records, _ = await log.next_write()  # asked again: that topic alone
        problem = writer.check() or ""
        was_open = writer.is_open
        await log.take()
        await writer.wait_open()

    assert [TOPICS.dead] == [topic for topic, *_ in records]
    assert not was_open
    assert TOPICS.dead.name in problem
    assert "TOPIC_AUTHORIZATION_FAILED" in problem
    assert writer.check() is None


async def test_what_is_refused_is_held_and_closes_the_writer() -> None:
    """The write's promise stays open, and is kept when the topic takes it."""
    log = ScriptedLog()
    async with run_writer(log) as writer:
        promise = writer.send_bytes([record(b"a")])
        await log.refuse(TopicRefusedError("no", topic=TOPICS.attempts.name))
        assert not writer.is_open
        assert "no" in (writer.check() or "")
        assert 1 == len(writer)
        await log.refuse(TopicRefusedError("still no", topic=TOPICS.attempts.name))
        await eventually(lambda: "still no" in (writer.check() or ""))
        assert not promise.done()
        again = await log.take()
        await writer.wait_open()

        assert [record(b"a")] == again
        assert Placement(0, 3) == promise.result()
        assert 0 == len(writer)


async def test_what_comes_behind_held_records_stays_behind() -> None:
    """One probe of the oldest at a time; then all others, in their order, each once."""
    log = ScriptedLog()
    async with run_writer(log) as writer:
        promises = [writer.send_bytes([record(b"a")])]
        await log.refuse(TopicRefusedError("no", topic=TOPICS.attempts.name))
        promises += [writer.send_bytes([record(b"b")]), await writer.send_patiently([record(b"c")])]
        handed_over = [records for records, _ in log.writes]
        assert [record(b"b")] not in handed_over
        written = [await log.take() for _ in range(3)]
        await asyncio.gather(*promises)

        assert [[record(b"a")], [record(b"b")], [record(b"c")]] == written


async def test_only_what_was_not_written_is_written_again() -> None:
    """Two of several records that are one promise were acknowledged: the others are written again."""
    log = ScriptedLog()
    async with run_writer(log) as writer:
        promise = writer.send_bytes([record(b"a"), record(b"b"), record(b"c")])
        await log.refuse(KafkaUnavailableError("_MSG_TIMED_OUT"), of=[1])
        again = await log.take()
        await promise

        assert [record(b"b")] == again


async def test_a_record_refused_for_good_is_replaced() -> None:
    """All replacements of a record are written, none for one that is not needed; the writer stays open."""
    log = ScriptedLog()
    instead = {b"large": [record(b"half"), record(b"half")], b"optional": []}

    def replace(refused: ToSend, error: RecordRefusedError) -> list[ToSend] | None:
        return instead.get(refused[2] or b"")

    async with run_writer(log, replace=replace) as writer:
        large, optional = writer.send_bytes([record(b"large")]), writer.send_bytes([record(b"optional")])
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        probes = await log.take_probes()
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))  # still, although the topic takes a probe
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        written = await log.take()
        await asyncio.gather(large, optional)

        assert {TOPICS.attempts} == probes

        assert [record(b"half"), record(b"half")] == written
        assert writer.is_open
        assert Placement(-1, -1) == optional.result()


async def test_where_nothing_smaller_is_left_it_is_held() -> None:
    """The topic is wrong then, not the record."""
    log = ScriptedLog()
    async with run_writer(log) as writer:
        promise = writer.send_bytes([record(b"a")])
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await log.take_probes()
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await eventually(lambda: not writer.is_open)
        await log.take()
        await promise


async def test_a_topic_that_refuses_everything_is_wrong_and_not_the_record() -> None:
    """The smallest record is refused as well: nothing is replaced, until the topic takes records of this size again."""
    log = ScriptedLog()
    replaced: list[ToSend] = []
    async with run_writer(log, replace=note_in(replaced)) as writer:
        promise = writer.send_bytes([record(b"a")])
        for _ in range(3):  # the record, the probe because of it, and the next one
            await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE", topic=TOPICS.attempts.name))
        assert not writer.is_open
        assert TOPICS.attempts.name in (writer.check() or "")
        await log.take_probes()
        again = await log.take()
        await promise
        await writer.wait_open()

    assert [record(b"a")] == again
    assert [] == replaced


async def test_a_held_record_is_replaced_when_only_its_size_is_wrong() -> None:
    """The topic takes a probe at last, and still not this record."""
    log = ScriptedLog()
    async with run_writer(log, replace=lambda refused, error: [record(b"half")]) as writer:
        promise = writer.send_bytes([record(b"large")])
        for _ in range(2):
            await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await log.take_probes()
        for _ in range(2):  # held, and behind another probe
            await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
            await log.take_probes()
        written = await log.take()
        await promise
        await writer.wait_open()

    assert [record(b"half")] == written


@pytest.mark.parametrize("key", [b"a", b"b", b"c"])
async def test_a_probe_goes_where_the_record_went(key: bytes) -> None:
    """A setting reaches one partition after the other, and the record's own is the one that it depends on."""
    topic = declare_topics(prefix="t.", partitions=8, event_retention_s=3600).attempts
    log = ScriptedLog()
    async with run_writer(log, replace=note_in([])) as writer:
        promise = writer.send_bytes([(topic, key, b"1")])
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        (probe,), _ = await log.next_write()
        await log.take_probes()
        await log.take()
        await promise

    assert topic == probe[0]
    assert key != probe[1]
    assert locate_partition(key, 8) == locate_partition(probe[1], 8)


async def test_a_topic_that_was_mended_between_refusal_and_probe_gets_the_record() -> None:
    """A probe that is taken now says nothing about a record that was refused before."""
    log = ScriptedLog()
    replaced: list[ToSend] = []
    async with run_writer(log, replace=note_in(replaced)) as writer:
        promises = [writer.send_bytes([record(b"a"), record(b"b")]), writer.send_bytes([record(b"c")])]
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"), of=[1])
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await log.take_probes()
        again = [await log.take() for _ in range(2)]
        await asyncio.gather(*promises)

    assert [[record(b"b")], [record(b"c")]] == again
    assert [] == replaced


async def test_silence_after_a_refusal_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is held: whether it or its topic is wrong is not known without an answer to the probe."""
    monkeypatch.setattr(holding_writer, "STALLED_AFTER_S", 0.05)
    log = ScriptedLog()
    async with run_writer(log, replace=lambda refused, error: []) as writer:
        promise = writer.send_bytes([record(b"a")])
        await log.refuse(RecordRefusedError("MSG_SIZE_TOO_LARGE"))
        await eventually(lambda: "no acknowledgement of a probe" in (writer.check() or ""))

        assert not promise.done()


async def test_silence_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No acknowledgement for a time: nothing more is caused until it comes."""
    log = ScriptedLog()
    async with run_writer(log) as writer:
        monkeypatch.setattr(holding_writer, "STALLED_AFTER_S", 0.0)
        promise = writer.send_bytes([record(b"a")])
        await eventually(lambda: not writer.is_open)
        assert "no acknowledgement" in (writer.check() or "")
        await log.take()
        await writer.wait_open()
        await promise


async def test_an_error_that_nobody_foresaw_ends_the_process() -> None:
    """Such an error is not taken for a refusal: the writer's owner gets the exception."""
    log = ScriptedLog()
    writer = HoldingWriter(log, [TOPICS.dead], replace=nothing_smaller, metrics=Metrics("test"), process="test")
    running = asyncio.create_task(writer.run())
    _, written = await log.next_write()
    written.set_exception(TypeError("never foreseen"))
    with pytest.raises(TypeError, match="never foreseen"):
        await running
