"""Meaning of a client's errors for a partition, and questions about the content of its log.

librdkafka's own handling of a batch that it cannot read is no help: version 2.16 goes on in the middle of the batch,
takes what lies there for a header, and asks for an offset that does not exist.
"""

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.options import probe_options
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place

if TYPE_CHECKING:
    from pipeline.kafka.damage.scan import Scanner
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
# The position is not in the log, or the log was cut off and has grown again.
OUT_OF_RANGE = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
        KafkaError._LOG_TRUNCATION,  # noqa: SLF001
        KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
ANSWER_TIMEOUT_S = 10.0


class Probe:
    """Asks about one partition after another. Blocks; for one thread. Its client fetches nothing.

    Raises `KafkaException` or `TimeoutError` when Kafka does not answer.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer = Consumer(probe_options(config), logger=None)
        self._survey: Survey | None = None
        self._scanner: Scanner | None = None

    def look(self, place: Place, position: int) -> "Look":
        """Look at an offset by the log's bytes."""
        if self._survey is None:
            from pipeline.kafka.damage.survey import Survey  # aiokafka takes 0.3 s to import

            self._survey = Survey(self._config)
        return self._survey.look(place, position)

    def unpack(self, place: Place, position: int) -> ReadFault | None:
        """Why the batch at an offset cannot be unpacked; None: it can."""
        if self._scanner is None:
            from pipeline.kafka.damage.scan import Scanner  # as above

            self._scanner = Scanner(self._config)
        end = self._scanner.find_batch_end(place, position) or position
        return next((each for each in self._scanner.read(place, position, end) if isinstance(each, ReadFault)), None)

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
        for opened in (self._survey, self._scanner):
            if opened is not None:
                opened.close()
