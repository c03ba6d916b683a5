"""Checks that the topics of this process take records, before a request depends on it and while there are none.

A probe (a record without meaning) is written to each topic: at the start, every few seconds, and at once when it
matters: a request asks, or a record got no acknowledgement. The topic's settings and permissions are not read: only
writing tells.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from pipeline.kafka.failures import KafkaUnavailableError
from pipeline.kafka.probes import PROBE_KEY, STALLED_AFTER_S, ProbeProducer, make_probe
from pipeline.kafka.producer import Placement
from pipeline.metrics import Metrics
from pipeline.supervisor import take_notice
from pipeline.topics import Topic

RETRY_S = 2.0

log = structlog.get_logger()


class WriteProbe:
    """Writes probes to each of `topics` while `run` runs; `check` has the result."""

    def __init__(
        self, producer: ProbeProducer, topics: Sequence[Topic], metrics: Metrics, *, process: str, interval_s: float
    ) -> None:
        self._interval_s = interval_s
        self._producer = producer
        self._topics = topics
        self._metrics = metrics
        self._process = process
        self._problems: Mapping[Topic, str] = {}
        self._under_way: dict[Topic, asyncio.Future[Placement]] = {}
        self._doubted = asyncio.Event()

    async def run(self) -> None:
        """Write probes again and again, until cancelled."""
        while True:
            self._doubted.clear()
            await asyncio.gather(*(self.ask(topic) for topic in self._topics))
            if self._problems:
                await asyncio.sleep(min(RETRY_S, self._interval_s))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._doubted.wait()

    def doubt(self) -> None:
        """A record got no acknowledgement: write probes soon, not after the interval."""
        self._doubted.set()

    def check(self, *topics: Topic) -> str | None:
        """Health: None, or which of `topics` (none named: of all) take nothing, and why."""
        chosen = topics or self._topics
        return "; ".join(self._problems[topic] for topic in chosen if topic in self._problems) or None

    async def ask(self, topic: Topic) -> bool:
        """Does the topic take a record now?"""
        written = self._under_way.get(topic)
        if written is None or written.done():
            written = self._producer.send_bytes([(topic, PROBE_KEY, self._make_probe(topic))])
            written.add_done_callback(take_notice)  # its error may come when it was noted as silence
            self._under_way[topic] = written
        done, _ = await asyncio.wait([written], timeout=STALLED_AFTER_S)
        self._note(topic, _find_problem(topic, written) if done else _describe_silence(topic))
        return topic not in self._problems

    def _make_probe(self, topic: Topic) -> bytes | None:
        if topic.retention_s is None:
            return None  # of a key that is in no view: the end of nothing, which compaction removes
        return make_probe(self._process)

    def _note(self, topic: Topic, problem: str | None) -> None:
        before = self._problems.get(topic)
        others = {each: why for each, why in self._problems.items() if each != topic}
        self._problems = others | ({topic: problem} if problem is not None else {})
        self._metrics.writable.set(not self._problems)
        if problem is not None and before is None:
            log.error("topic_not_writable", topic=topic.name, reason=problem)
        elif problem is None and before is not None:
            log.info("topic_writable", topic=topic.name)


def _find_problem(topic: Topic, written: "asyncio.Future[Placement]") -> str | None:
    error = written.exception()
    if error is None:
        return None
    if not isinstance(error, KafkaUnavailableError):
        raise error
    return f"{topic.name} takes no records: {error}"


def _describe_silence(topic: Topic) -> str:
    return f"{topic.name} takes no records: no acknowledgement for {STALLED_AFTER_S:g} s"
