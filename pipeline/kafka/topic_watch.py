"""Checks that topics have the settings we rely on, at the start and while running: an operator can change them.

A difference is logged and shown in health until the topic is as declared. Whether records can be written all the same
is found by the producer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import TopicMetadata

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import ANSWER_TIMEOUT_S, describe_settings
from pipeline.kafka.options import open_admin
from pipeline.metrics import Metrics
from pipeline.start_error import StartError
from pipeline.topics import UNLIMITED, Topic

# More of these is as good: records and history may be larger than we need.
AT_LEAST = frozenset({"max.message.bytes", "retention.ms", "min.compaction.lag.ms"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting of a topic that is not as it should be."""

    topic: str
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, {self.wanted} is wanted"


class TopicWatch:
    """Compares `topics` with the cluster. `run` for ever; `check` is the answer."""

    def __init__(self, config: KafkaConfig, topics: Sequence[Topic], metrics: Metrics) -> None:
        self._config = config
        self._topics = topics
        self._metrics = metrics
        self._admin = open_admin(config)
        self._differences: Sequence[Difference] = ()

    async def run(self) -> None:
        """Compare again and again, until cancelled."""
        while True:
            try:
                self._take(await asyncio.to_thread(self._compare))
            except (KafkaException, StartError) as error:
                # whether Kafka answers at all is another check
                log.warning("topics_not_compared", reason=str(error))
                # a client asks one broker for all, and waits for it when it is gone
                self._admin = open_admin(self._config)
            await asyncio.sleep(self._config.topics_check_interval_s)

    def check(self) -> str | None:
        """Health: None, or which settings differ."""
        if not self._differences:
            return None
        return "; ".join(map(str, self._differences)) + ". `hookline topics apply` sets what can be set"

    def _take(self, differences: Sequence[Difference]) -> None:
        if differences == self._differences:
            return
        for each in differences:
            if each not in self._differences:
                log.error("topic_differs", topic=each.topic, setting=each.setting, wanted=each.wanted, found=each.found)
        if not differences:
            log.info("topics_as_declared")
        self._differences = differences
        self._metrics.topic_settings_differing.clear()
        for each in differences:
            self._metrics.topic_settings_differing.labels(each.topic, each.setting).set(1)

    def _compare(self) -> list[Difference]:
        known = self._admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics
        present = [topic for topic in self._topics if topic.name in known and known[topic.name].error is None]
        missing = [topic for topic in self._topics if topic not in present]
        settings = describe_settings(self._admin, present)
        return [
            *(Difference(topic=topic.name, setting="topic", wanted="there", found="missing") for topic in missing),
            *(
                each
                for topic in present
                for each in compare_topic(topic, known[topic.name], settings[topic], self._config)
            ),
        ]


def compare_topic(
    topic: Topic, metadata: TopicMetadata, settings: Mapping[str, str | None], config: KafkaConfig
) -> list[Difference]:
    """The differences of one existing topic."""
    differing = [
        (name, wanted, str(settings.get(name)))
        for name, wanted in topic.config(record_max_bytes=config.record_max_bytes).items()
        if not _suffices(name, wanted, settings.get(name))
    ]
    if len(metadata.partitions) != topic.partitions:
        differing.append(("partitions", str(topic.partitions), str(len(metadata.partitions))))
    replicas = min((len(partition.replicas) for partition in metadata.partitions.values()), default=0)
    if int(settings.get("min.insync.replicas") or 1) > replicas:
        differing.append(("min.insync.replicas", f"{replicas} at most", str(settings["min.insync.replicas"])))
    return [
        Difference(topic=topic.name, setting=setting, wanted=wanted, found=found)
        for setting, wanted, found in differing
    ]


def _suffices(name: str, wanted: str, found: str | None) -> bool:
    if found is None or name not in AT_LEAST:
        return found == wanted
    return found == UNLIMITED or (wanted != UNLIMITED and int(found) >= int(wanted))
