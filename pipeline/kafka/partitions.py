"""Partitions as the client takes and gives them."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.kafka.commit_metadata import is_readable
from pipeline.kafka.record import Place

QUERY_TIMEOUT_S = 10.0
PATIENCE_S = 30.0
PAUSE_S = 0.5

log = structlog.get_logger()


class Asked(Protocol):
    """The one method of a consumer that is called here."""

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]: ...


def make_part(place: Place, offset: int, *, metadata: str | None = None, epoch: int | None = None) -> TopicPartition:
    """`epoch`: of the leader that wrote the record before `offset`, or of a later one."""
    options: dict[str, str | int] = {}
    if metadata is not None:
        options["metadata"] = metadata
    if epoch is not None:
        options["leader_epoch"] = epoch
    return TopicPartition(place[0], place[1], offset, **options)  # type: ignore[arg-type]  # the stubs lack the epoch


def find_committed(
    consumer: Asked,
    places: Sequence[Place],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[Place, TopicPartition]:
    """The committed offset of each place, negative where there is none. Blocks.

    An answer about one place can be an error of its own (an open transaction, a coordinator that moves), or its
    metadata unreadable (see `commit_metadata`). It is asked again: taken for "nothing", reading would begin anew.
    Raises `KafkaException` when it stays one.
    """
    deadline_s = clock() + PATIENCE_S
    found: dict[Place, TopicPartition] = {}
    left = list(places)
    while True:
        answers = consumer.committed([TopicPartition(*place) for place in left], timeout=QUERY_TIMEOUT_S)
        failed = []
        for part in answers:
            if part.error is None and is_readable(part):
                found[part.topic, part.partition] = part
            else:
                failed.append(part)
        if not failed:
            return found
        error = failed[0].error or KafkaError(KafkaError._BAD_MSG, "the metadata of a commit is no text")  # noqa: SLF001
        if clock() > deadline_s:
            raise KafkaException(error)
        log.warning("committed_waits", partitions=len(failed), reason=str(error))
        left = [(part.topic, part.partition) for part in failed]
        sleep(PAUSE_S)
