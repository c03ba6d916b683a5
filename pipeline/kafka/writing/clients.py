"""The Kafka clients of one producer: the one that writes, one that writes each record alone, and replaced ones."""

from collections.abc import Callable, Mapping

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.kafka.failures import ToSend, is_fatal
from pipeline.metrics import Metrics

OnDelivery = Callable[[KafkaError | None, Message], None]
log = structlog.get_logger()


class Clients:
    """A client with a fatal error is replaced: its unwritten records fail at once."""

    def __init__(self, options: Mapping[str, str | int | float | bool], metrics: Metrics) -> None:
        self._options = dict(options)
        self._metrics = metrics
        self._alone: Producer | None = None  # made when it is needed
        self._retired: list[Producer] = []  # replaced, and still reporting
        self._fatal: str | None = None  # why the client must be replaced
        self.main = Producer(self._options, logger=None)

    def __len__(self) -> int:
        """Records not acknowledged yet."""
        others = sum(len(client) for client in (self._alone, *self._retired) if client is not None)
        return len(self.main) + others

    def give_alone(self, record: ToSend, on_delivery: OnDelivery) -> None:
        """Write a record as the only one of its batch. Raises `BufferError` or `KafkaException`."""
        topic, key, value, *headers = record
        if self._alone is None:
            self._alone = Producer(self._options | {"batch.num.messages": 1}, logger=None)
        self._alone.produce(
            topic.name,
            value=value,
            key=key,
            partition=topic.locate(key),
            on_delivery=on_delivery,
            headers=list(headers[0]) if headers else None,
        )

    def note_fatal(self, reason: str) -> None:
        """The client writes nothing any more: it is replaced with the next `poll`."""
        self._fatal = reason

    def poll(self) -> int:
        """Have answers reported; how many there were."""
        answers = self._poll(self.main)
        if self._alone is not None:
            answers += self._poll(self._alone)
        if self._fatal is not None:
            self._replace()
        elif self._retired:
            answers += self._poll_retired()
        return answers

    def _poll(self, client: Producer) -> int:
        try:
            return client.poll(0)
        except KafkaException as error:
            # a fatal error is raised here, besides being reported of every record
            if not is_fatal(error.args[0]):
                raise
            self._fatal = str(error.args[0])
            return 1

    def _replace(self) -> None:
        reason, self._fatal = self._fatal, None
        log.error("producer_replaced", reason=reason)
        self._metrics.producers_replaced_total.inc()
        self._retired.append(self.main)
        if self._alone is not None:
            self._retired.append(self._alone)
        self.main, self._alone = Producer(self._options, logger=None), None
        for client in self._retired:
            client.purge()
        self._poll_retired()

    def _poll_retired(self) -> int:
        answers = sum(self._poll(client) for client in self._retired)
        self._fatal = None  # which they report once more of every record
        self._retired = [client for client in self._retired if len(client)]
        return answers
