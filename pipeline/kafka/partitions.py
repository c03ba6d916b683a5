"""Partitions as the client takes and gives them."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import OFFSET_END, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from pipeline.config import KafkaConfig
from pipeline.kafka.commit_metadata import is_readable
from pipeline.kafka.options import open_admin
from pipeline.kafka.record import Place

QUERY_TIMEOUT_S = 10.0
ENDS_TIMEOUT_S = 5.0
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library's has no types
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
PATIENCE_S = 30.0
PAUSE_S = 0.5
LEADER_CHANGED = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._DESTROY_BROKER,  # noqa: SLF001 - the library's name: one that was asked has gone
    }
)

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


def find_ends(consumer: Consumer, places: Sequence[Place], config: KafkaConfig) -> dict[Place, int]:
    """Where what may be read of these ends; those without an answer are left out. One request to each broker.

    May be called within a callback of the consumer's `poll`. A method that serves callbacks itself may not, and
    `list_topics` (confluent-kafka 2.16) counts as one: with the next callback of the same `poll` the process aborts.
    """
    # a timestamp of -1 is the end in Kafka's protocol
    asked = [TopicPartition(*place, OFFSET_END) for place in places]
    try:
        found = consumer.offsets_for_times(asked, timeout=ENDS_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() in LEADER_CHANGED:
            return _ask_anew(places, config)
        log.warning("ends_not_known", partitions=len(places), reason=str(error))
        return {}
    return {(part.topic, part.partition): part.offset for part in found if part.error is None and part.offset >= 0}


def _ask_anew(places: Sequence[Place], config: KafkaConfig) -> dict[Place, int]:
    """The ends, by a client that looks who leads now."""
    try:
        ends = ask_ends(open_admin(config), places, LATEST, isolation=IsolationLevel.READ_COMMITTED)
    except (KafkaException, TimeoutError) as error:
        log.warning("ends_not_known", partitions=len(places), reason=str(error))
        return {}
    return {place: end.offset for place, end in ends.items()}


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
        found[part.topic, part.partition] = read_end(future.result(ENDS_TIMEOUT_S * 2))
    return found


def read_end(answer: ListOffsetsResultInfo) -> End:
    """The end that was answered. Raises `KafkaException` when there is none.

    librdkafka 2.16 gives out a partition without an answer, too, with the offset -1001 and no error: taken for the end,
    the log would have been cut off there.
    """
    if answer.offset < 0:
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return End(answer.offset, answer.leader_epoch if answer.leader_epoch is not None else -1)


def find_committed(
    consumer: Asked,
    places: Sequence[Place],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[Place, TopicPartition]:
    """The committed offset of each place, negative where there is none. Blocks.

    An answer about one place can be an error (an open transaction, a coordinator that moves), or its
    metadata unreadable (see `commit_metadata`); or there is none, while the coordinator is away. It is asked again:
    taken for "nothing", reading would begin anew. Raises `KafkaException` when it stays so.
    """
    deadline_s = clock() + PATIENCE_S
    found: dict[Place, TopicPartition] = {}
    left = list(places)
    while True:
        error: KafkaError | None = None
        try:
            answers = consumer.committed([TopicPartition(*place) for place in left], timeout=QUERY_TIMEOUT_S)
        except KafkaException as failure:
            error = failure.args[0]
        else:
            found |= {(part.topic, part.partition): part for part in answers if _find_problem(part) is None}
            error = next((problem for part in answers if (problem := _find_problem(part)) is not None), None)
            left = [place for place in left if place not in found]
        if error is None:
            return found
        if clock() > deadline_s:
            raise KafkaException(error)
        log.warning("committed_waits", partitions=len(left), reason=str(error))
        sleep(PAUSE_S)


def _find_problem(part: TopicPartition) -> KafkaError | None:
    """Why an answer about one partition is of no use; None: it is."""
    if part.error is not None or is_readable(part):
        return part.error
    return KafkaError(KafkaError._BAD_MSG, "the metadata of a commit is no text")  # noqa: SLF001 - the library's name
