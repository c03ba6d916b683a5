"""Why a record was not written: kinds, so that callers can do what is right for each.

| kind | examples | what to do |
|---|---|---|
| the record is refused for good | too large for the topic, invalid | write a smaller one, or tell its sender |
| the topic takes nothing from us | not authorized, no such topic, a wrong clock | stop causing more, and wait |
| unknown | no acknowledgement in time, no broker, too few replicas followed | write again: it may be in the log |
"""

from collections.abc import Sequence

from confluent_kafka import KafkaError

from pipeline.core.trace_context import TraceHeaders
from pipeline.topics import Topic

Plain = tuple[Topic, bytes, bytes | None]  # topic, key, value
ToSend = Plain | tuple[Topic, bytes, bytes | None, TraceHeaders]  # with the trace it belongs to, where there is one


def trace(record: Plain, headers: TraceHeaders | None) -> ToSend:
    """A record that belongs to a trace; `headers`: None: to none."""
    return record if headers is None else (*record, headers)


class KafkaUnavailableError(Exception):
    """Kafka did not acknowledge a record in time, or its buffer is full. Whether it was written is unknown.

    `failed`: the unacknowledged ones of the records sent together, in order, each with its own error.
    """

    def __init__(self, reason: str, *, topic: str = "") -> None:
        super().__init__(reason)
        self.topic = topic
        self.failed: Sequence[tuple[ToSend, KafkaUnavailableError]] = ()


class TopicRefusedError(KafkaUnavailableError):
    """The broker takes no record of ours into this topic, for now. It was not written."""


class RecordRefusedError(KafkaUnavailableError):
    """The broker does not take this record into this topic, and never will. It was not written; others are."""


# Of the record, when it is refused by itself: a broker refuses a whole batch for one record.
_OF_A_RECORD = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)
# Our timestamps are the client's clock: a refusal of one of them concerns all of them.
_OF_THE_TOPIC = frozenset(
    {
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - how the client names its own errors
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the same
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.NOT_ENOUGH_REPLICAS,  # of one that was appended before they were too few it is not known
        KafkaError.INVALID_REQUIRED_ACKS,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.INVALID_CONFIG,
    }
)
_ALONE_FIRST = _OF_A_RECORD | {KafkaError.INVALID_TIMESTAMP}


def is_of_one_of_its_batch(error: KafkaError) -> bool:
    """May another record of the same batch be the reason? Writing the record in a batch of its own will tell."""
    return error.code() in _ALONE_FIRST


def name_failure(error: KafkaError, topic: str) -> KafkaUnavailableError:
    """The kind of an error of a record that was alone in its batch, or of an error that concerns every record."""
    reason = f"{error.name()}: {error.str()}"
    if error.code() in _OF_A_RECORD:
        return RecordRefusedError(reason, topic=topic)
    if error.code() in _OF_THE_TOPIC:
        return TopicRefusedError(reason, topic=topic)
    return KafkaUnavailableError(reason, topic=topic)


def is_fatal(error: KafkaError) -> bool:
    """Is the client of no use any more?"""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - how the client names its own errors
