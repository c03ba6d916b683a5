"""Does the log take what a process writes? Known from probes, whatever its settings say."""

import asyncio

import pytest

from pipeline.core.events.records import is_probe
from pipeline.kafka import write_probe
from pipeline.kafka.failures import TopicRefusedError
from pipeline.kafka.write_probe import WriteProbe
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.support.beside import beside
from tests.unit.pipeline.kafka.scripted_log import ScriptedLog

TOPICS = declare_topics(prefix="t.", partitions=1, event_retention_s=3600)
REFUSED = "TOPIC_AUTHORIZATION_FAILED: not authorized"


def make_probe(log: ScriptedLog) -> WriteProbe:
    return WriteProbe(log, TOPICS.of_gateway_output(), Metrics("test"), process="gateway", interval_s=60)


async def test_a_topic_that_refuses_is_named() -> None:
    """The topic is named with Kafka's reason; the others are well, and so is it when it takes a record again."""
    log = ScriptedLog()
    probe = make_probe(log)
    asking = asyncio.create_task(probe.ask(TOPICS.routes))
    await log.refuse(TopicRefusedError(REFUSED, topic=TOPICS.routes.name))
    takes = await asking
    problems = probe.check(), probe.check(TOPICS.routes), probe.check(TOPICS.events)
    asking = asyncio.create_task(probe.ask(TOPICS.routes))
    await log.take()

    assert takes is False
    assert (f"{TOPICS.routes.name} takes no records: {REFUSED}",) * 2 + (None,) == problems
    assert await asking
    assert probe.check() is None


async def test_what_is_written_means_nothing_to_readers() -> None:
    """A probe, or in a compacted topic the end of a key that nothing has."""
    log = ScriptedLog()
    probe = make_probe(log)
    asking = [asyncio.create_task(probe.ask(topic)) for topic in TOPICS.of_gateway_output()]
    written = {topic: value for [(topic, _, value, *_)] in [await log.take() for _ in asking]}
    await asyncio.gather(*asking)

    assert is_probe(written[TOPICS.events])
    assert (None, None) == (written[TOPICS.routes], written[TOPICS.endpoints])


async def test_silence_is_a_problem_and_asks_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """One probe waits for its acknowledgement, however often it is asked; that makes it well."""
    monkeypatch.setattr(write_probe, "STALLED_AFTER_S", 0.001)
    log = ScriptedLog()
    probe = make_probe(log)
    answers = [await probe.ask(TOPICS.events) for _ in range(3)]
    asked = len(log.writes)
    problem = probe.check(TOPICS.events) or ""
    await log.take()

    assert ([False] * 3, 1) == (answers, asked)
    assert "no acknowledgement" in problem
    monkeypatch.setattr(write_probe, "STALLED_AFTER_S", 5.0)
    asking = asyncio.create_task(probe.ask(TOPICS.events))
    await log.take()
    assert await asking


async def test_a_record_without_an_acknowledgement_has_probes_written() -> None:
    """Requests fail now: health does not wait for the next regular probe."""
    log = ScriptedLog()
    probe = make_probe(log)
    async with beside(probe.run()):
        for _ in TOPICS.of_gateway_output():
            await log.take()
        probe.doubt()
        again = {(await log.take())[0][0] for _ in TOPICS.of_gateway_output()}

    assert set(TOPICS.of_gateway_output()) == again
