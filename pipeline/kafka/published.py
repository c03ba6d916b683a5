"""Every application in the log, read once from its start: for bringing the log in line with the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Endpoint, expect
from pipeline.kafka.tail import read_tail
from pipeline.topics import Topic, Topics
from schemas import SchemaError

EVERYTHING = 1 << 62


@dataclass(frozen=True, slots=True)
class Published:
    """Keys of the parts that have a value, and the newest record of each endpoint."""

    parts: list[bytes] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)


NOTHING_PUBLISHED = Published()


def read_published(config: KafkaConfig, topics: Topics) -> Mapping[str, Published]:
    """Published states, by application. Blocks: call it in a thread. Raises `StartError` when Kafka does not answer."""
    found: dict[str, Published] = {}
    for key, value in _read_newest(config, topics.routes).items():
        application_id, slash, _ = key.partition(b"/")
        if slash and value is not None:
            found.setdefault(application_id.decode(errors="replace"), Published()).parts.append(key)
    for value in _read_newest(config, topics.endpoints).values():
        try:
            endpoint = expect(Endpoint, value or b"")
        except SchemaError:
            continue  # said by the processes that use it
        found.setdefault(endpoint.application_id, Published()).endpoints.append(endpoint)
    return found


def _read_newest(config: KafkaConfig, topic: Topic) -> dict[bytes, bytes | None]:
    starts = dict.fromkeys(range(topic.partitions), 0)
    records, _ = read_tail(config, topic, starts, records_max=EVERYTHING)
    return {record.key: record.value for record in records if record.key is not None}
