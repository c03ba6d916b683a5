"""A producer like one outside of Hookline, for tests that write into topics themselves."""

import contextlib
from typing import Any

from confluent_kafka import KafkaException, Producer

from pipeline.topics import Topic

FLUSH_TIMEOUT_S = 60.0
ROOM_TIMEOUT_S = 0.1
KNOW_TIMEOUT_S = 10.0


class OutsideProducer:
    """Places keys as Hookline does. `options`: of librdkafka, as `compression_type="gzip"`."""

    def __init__(self, bootstrap_servers: str, **options: Any) -> None:
        given = {name.replace("_", "."): value for name, value in options.items()}
        usual: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            # what is written up to a `flush` is one batch, also when the machine pauses in between
            "linger.ms": 500,
        }
        self._producer = Producer(usual | given)
        self._known: set[str] = set()

    def write_bytes(self, topic: Topic, key: bytes | None, value: bytes | None, **options: Any) -> None:
        """Write one record, once there is room for it. `options`: of `produce`, `headers` for example."""
        if topic.name not in self._known:
            # records of a topic that the client does not know yet may go out in two batches as they get their partition
            self._known.add(topic.name)
            with contextlib.suppress(KafkaException):
                self._producer.list_topics(topic.name, timeout=KNOW_TIMEOUT_S)
        while True:
            try:
                self._producer.produce(topic.name, key=key, value=value, **options)
                break
            except BufferError:
                self._producer.poll(ROOM_TIMEOUT_S)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every record is acknowledged."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        assert left == 0, f"{left} records were not acknowledged"
