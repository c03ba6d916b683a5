"""Can Kafka take records? Asked regularly, so that a balancer learns it before a request fails."""

import asyncio
import time
from functools import partial

from confluent_kafka import KafkaException

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import MIN_IN_SYNC, describe_settings
from pipeline.kafka.options import open_admin
from pipeline.start_error import StartError
from pipeline.topics import Topic

INTERVAL_S = 2.0
ANSWER_TIMEOUT_S = 3.0
# one answer that is late is no outage; two in a row are
FAILURES_MAX = 2
SETTINGS_EVERY = 15  # asks: the settings of a topic change rarely


class KafkaProbe:
    """Asks for the leaders and in-sync replicas of one topic's partitions. `run` for ever; `check` is the answer."""

    def __init__(self, config: KafkaConfig, topic: Topic) -> None:
        # a broker that is silent for so long is not asked again: others know as well
        self._open_admin = partial(open_admin, config, silent_max_s=ANSWER_TIMEOUT_S)
        self._admin = self._open_admin()
        self._topic = topic
        self._asks = 0
        self._min_in_sync = 1
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
            self._admin = self._open_admin()
            return f"Kafka does not answer: {error.args[0].str()}"
        if topic.error is not None:
            return f"Kafka has no {name}: {topic.error.str()}"
        leaderless = [number for number, partition in topic.partitions.items() if partition.leader < 0]
        if leaderless:
            return f"partitions of {name} have no leader: {sorted(leaderless)}"
        self._learn_min_in_sync()
        # a broker asks for no more replicas than there are
        short = [
            number
            for number, partition in topic.partitions.items()
            if len(partition.isrs) < min(self._min_in_sync, len(partition.replicas))
        ]
        if short:
            return f"partitions of {name} have too few replicas in sync ({MIN_IN_SYNC}): {sorted(short)}"
        return None

    def _learn_min_in_sync(self) -> None:
        if self._asks % SETTINGS_EVERY == 0:
            try:
                found = describe_settings(self._admin, [self._topic])[self._topic].get(MIN_IN_SYNC)
            except StartError:  # not allowed to know, or the broker that it asks for all is gone
                self._admin = self._open_admin()
                return
            self._min_in_sync = int(found or 1)
        self._asks += 1
