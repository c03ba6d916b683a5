"""Can Kafka take records? Asked regularly, so that a balancer learns it before a request fails."""

import asyncio
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.options import connect_options
from pipeline.topics import Topic

INTERVAL_S = 2.0
ANSWER_TIMEOUT_S = 3.0
# one answer that is late is no outage; two in a row are
FAILURES_MAX = 2


class KafkaProbe:
    """Asks for the leaders of one topic's partitions. `run` for ever; `check` is the answer."""

    def __init__(self, config: KafkaConfig, topic: Topic) -> None:
        self._admin = AdminClient(dict(connect_options(config)), logger=None)
        self._topic = topic
        self._failures = 0
        self._problem = ""
        self.duration_ms = 0

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            started_at_s = time.perf_counter()
            problem = await asyncio.to_thread(self._ask)
            self.duration_ms = round((time.perf_counter() - started_at_s) * 1000)
            self._failures = self._failures + 1 if problem is not None else 0
            self._problem = problem or ""
            await asyncio.sleep(INTERVAL_S)

    def check(self) -> str | None:
        """Health: None, or why no record can be written."""
        return self._problem if self._failures >= FAILURES_MAX else None

    def _ask(self) -> str | None:
        name = self._topic.name
        try:
            topic = self._admin.list_topics(name, timeout=ANSWER_TIMEOUT_S).topics[name]
        except KafkaException as error:
            return f"Kafka does not answer: {error.args[0].str()}"
        if topic.error is not None:
            return f"Kafka has no {name}: {topic.error.str()}"
        leaderless = [number for number, partition in topic.partitions.items() if partition.leader < 0]
        return f"partitions of {name} have no leader: {sorted(leaderless)}" if leaderless else None
