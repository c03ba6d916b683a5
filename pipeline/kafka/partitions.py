"""Partitions as the client takes and gives them."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.kafka.commit_metadata import is_readable
from pipeline.kafka.record import Place

QUERY_TIMEOUT_S = 10.0
ENDS_TIMEOUT_S = 5.0
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library's has no types
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
PATIENCE_S = 30.0
PAUSE_S = 0.5

log = structlog.get_logger()


class End(NamedTuple):
    """One end of a partition, with the epoch of its leader."""

    offset: int
    epoch: int


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


def find_ends(consumer: Consumer, places: Sequence[Place]) -> dict[Place, int]:
    """Where what may be read of these ends; those without an answer are left out. One request to each broker."""
    # a timestamp of -1 is the end in Kafka's protocol
    asked = [TopicPartition(*place, OFFSET_END) for place in places]
    try:
        found = consumer.offsets_for_times(asked, timeout=ENDS_TIMEOUT_S)
    except KafkaException as error:
        log.warning("ends_not_known", partitions=len(places), reason=str(error))
        return {}
    return {(part.topic, part.partition): part.offset for part in found if part.error is None and part.offset >= 0}


def ask_ends(
    admin: AdminClient,
    places: Iterable[Place],
    which: OffsetSpec,
    *,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[Place, End]:
    """An end of each partition. Blocks; raises `KafkaException` or `TimeoutError` when Kafka does not answer."""
    asked = {TopicPartition(*place): which for place in places}
    if not asked:
        return {}
    found = {}
    answers = admin.list_offsets(asked, request_timeout=ENDS_TIMEOUT_S, isolation_level=isolation)
    for part, future in answers.items():
        answer = future.result(ENDS_TIMEOUT_S * 2)
        found[part.topic, part.partition] = End(answer.offset, answer.leader_epoch)
    return found


def find_committed(
    consumer: Asked,
    places: Sequence[Place],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[Place, TopicPartition]:
    """The committed offset of each place, negative where there is none. Blocks.

    An answer about one place can be an error (an open transaction, a coordinator that moves), or its
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
