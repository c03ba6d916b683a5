"""Where a partition can be read again behind a batch that cannot: found by trying, with a client of its own.

The client says where a bad batch begins and not where it ends, and its own handling is no help: librdkafka 2.16
goes on in the middle of the batch, takes what lies there for a header, and asks for an offset that does not exist.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.options import probe_options
from pipeline.kafka.record import Place

if TYPE_CHECKING:
    from pipeline.kafka.damage.survey import Look, Survey

# Errors of a batch that is damaged, too large unpacked, or of an unknown form.
UNREADABLE = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001 - the library's names for its own errors
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError._UNDERFLOW,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
    }
)
# Of these, the ones whose message has the offset at which the batch begins.
NAME_THEIR_BATCH = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})  # noqa: SLF001
# The position is not in the log, or the log was cut off and has grown again.
OUT_OF_RANGE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
        KafkaError._LOG_TRUNCATION,  # noqa: SLF001
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
ANSWER_TIMEOUT_S = 10.0
# An error that does not name its batch may be left from the trial before: so long for a better answer.
UNSURE_S = 2.0
# so many may be written between asking for the end and reading
OFFSETS_NEW_MAX = 1_000_000


class Trial(NamedTuple):
    """What reading from an offset came to. `batch`: where the bad batch begins, None: not known."""

    is_readable: bool
    batch: int | None = None
    reason: str = ""


def find_readable(begin: int, end: int, attempt: Callable[[int], Trial]) -> tuple[int, Trial]:
    """The first offset from `begin` on, `end` at most, that is not in the bad batch there; and the first trial.

    `begin` itself if it can be read after all. About 2 log2(records of the batch) trials.
    """
    first = attempt(begin)
    if first.is_readable:
        return begin, first
    bad, step = begin, 1
    while True:
        at = min(begin + step, end)
        if at >= end or not _is_same(first, attempt(at)):
            break
        bad, step = at, step * 2
    good = at
    while good - bad > 1:
        middle = (bad + good) // 2
        if _is_same(first, attempt(middle)):
            bad = middle
        else:
            good = middle
    return good, first


def _is_same(first: Trial, trial: Trial) -> bool:
    # an error without its batch is what librdkafka makes of the bytes inside of a bad one
    return not trial.is_readable and (None in (trial.batch, first.batch) or trial.batch == first.batch)


class Probe:
    """Tries offsets of one partition after another. Blocks; for one thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer = Consumer(probe_options(config), logger=None)
        self._survey: Survey | None = None

    def look(self, place: Place, position: int) -> "Look":
        """What lies at an offset, by the log's bytes. Raises `TimeoutError`."""
        if self._survey is None:
            from pipeline.kafka.damage.survey import (
                Survey,
            )  # aiokafka takes 0.3 s to import, and most processes never need it

            self._survey = Survey(self._config)
        return self._survey.look(place, position)

    def find(self, place: Place, begin: int) -> tuple[int, int, str]:
        """(first offset that cannot be read, first one behind it that can, why). Both `begin`: all is well there.

        Raises `KafkaException` or `TimeoutError` when Kafka does not answer.
        """
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_TIMEOUT_S)
        good, first = find_readable(begin, max(begin, end), lambda offset: self._try(place, offset, end))
        if first.is_readable:
            return begin, begin, ""
        # what lies between `begin` and the batch are the ends of transactions
        start = first.batch if first.batch is not None and begin <= first.batch < good else begin
        return start, good, first.reason

    def bounds(self, place: Place) -> tuple[int, int]:
        """Where the partition begins and ends."""
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_TIMEOUT_S)
        return low, high

    def find_by_time(self, place: Place, time_ms: int) -> int | None:
        """The first record at or after a time; None: there is none."""
        (found,) = self._consumer.offsets_for_times([TopicPartition(*place, time_ms)], timeout=ANSWER_TIMEOUT_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def close(self) -> None:
        self._consumer.close()
        if self._survey is not None:
            self._survey.close()

    def _try(self, place: Place, offset: int, end: int) -> Trial:
        self._assign(place, offset)
        started_at_s = time.monotonic()
        doubt: Trial | None = None
        try:
            while (waited_s := time.monotonic() - started_at_s) < ANSWER_TIMEOUT_S:
                if doubt is not None and waited_s > UNSURE_S:
                    return doubt
                message = self._consumer.poll(0.1)
                if message is None:
                    continue
                trial = _judge(message, offset, end)
                if trial is not None:
                    return trial
                error = message.error()
                if error is not None and error.code() in UNREADABLE:
                    doubt = Trial(is_readable=False, reason=error.str())
                elif error is not None and error.code() in OUT_OF_RANGE:
                    # left from the trial before, whose bytes were taken for a header with an offset
                    self._assign(place, offset)
        finally:
            self._consumer.unassign()
        if doubt is not None:
            return doubt
        raise TimeoutError(f"{place[0]} [{place[1]}] does not answer at {offset}")

    def _assign(self, place: Place, offset: int) -> None:
        self._consumer.assign([TopicPartition(place[0], place[1], offset)])


def _judge(message: Message, offset: int, end: int) -> Trial | None:
    """What one message says about reading from `offset`; None: nothing for sure."""
    error, at = message.error(), message.offset()
    if error is None:
        if (at or 0) >= end + OFFSETS_NEW_MAX:
            return Trial(is_readable=False, reason="a batch claims offsets behind the end of the log")
        return Trial(is_readable=True)
    code = error.code()
    if code in NAME_THEIR_BATCH and at is not None and 0 <= at <= offset:
        return Trial(is_readable=False, batch=at, reason=error.str())
    # nothing to be read: at the end, or the offset is not in the log at all
    is_empty = code == KafkaError._PARTITION_EOF or (code in OUT_OF_RANGE and at == offset)  # noqa: SLF001
    return Trial(is_readable=True) if is_empty else None
