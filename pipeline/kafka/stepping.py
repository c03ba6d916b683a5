"""Stepping over unreadable batches, for readers outside of a group: in place, while nothing else is read."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.order import Looked, Order
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.readable import OUT_OF_RANGE, UNREADABLE, Probe
from pipeline.kafka.record import Place
from pipeline.kafka.recovery import Question, Reached, make_question, resolve
from pipeline.kafka.topic_ids import Origins, TopicIds

if TYPE_CHECKING:
    from pipeline.kafka.damage.scan import Damaged

AGAIN_AFTER_S = 1.0
ENDS_TIMEOUT_S = 2.0

log = structlog.get_logger()


class Stepper:
    """Follows how far `consumer` has read, and moves it on. For the thread that owns the consumer."""

    def __init__(self, config: KafkaConfig, consumer: Consumer, ids: TopicIds | None = None) -> None:
        self._config = config
        self._ids = ids
        self._origins = Origins(ids)
        self._consumer = consumer
        self._probe: Probe | None = None
        self._read_to: dict[Place, int] = {}
        self._moved: set[Place] = set()
        self._order = Order()
        self._doubtful: set[Place] = set()
        self._behind: dict[Place, int] = {}
        self._damaged: set[Place] = set()

    def begin(self, parts: list[TopicPartition]) -> None:
        """Reading begins here, at offsets or at the beginning."""
        self._read_to = {}
        self.add(parts)

    def add(self, parts: Sequence[TopicPartition]) -> None:
        """Reading of these begins as well."""
        for part in parts:
            self._origins.accept((part.topic, part.partition))
            self.go_to((part.topic, part.partition), max(part.offset, 0))

    def go_to(self, place: Place, offset: int) -> None:
        """Reading goes on at another offset of the same log."""
        self._read_to[place] = offset

    def forget(self, places: Iterable[Place]) -> None:
        """Others read these."""
        for place in places:
            self._read_to.pop(place, None)
            self._origins.forget(place)

    @property
    def origins(self) -> Origins:
        """Which topics the positions count in."""
        return self._origins

    def start_batch(self) -> None:
        """Records polled from here on were fetched after all moves made so far."""
        self._moved.clear()

    def reached(self, place: Place) -> int:
        """The next offset of this partition, by the records read and the batches stepped over; 0: not known."""
        return self._read_to.get(place, 0)

    def positions(self) -> dict[Place, int]:
        """`reached` of every partition."""
        return dict(self._read_to)

    def take(self, message: Message) -> bool:
        """Is this a record to be handled? False: an error, or it was fetched before a move and comes again."""
        place = (message.topic() or "", message.partition() or 0)
        if message.error() is not None or place in self._moved:
            return False
        offset = message.offset() or 0
        verdict = self._order.judge(place, self._read_to.get(place, 0), offset)
        if verdict == "take":
            self._read_to[place] = offset + 1
        elif verdict == "look":
            self._doubtful.add(place)
        return verdict == "take"

    def scan(self, parts: Mapping[Place, tuple[int, int]]) -> "Mapping[Place, Damaged]":
        """Which of these have bad batches between two offsets, and what else is there. Raises `TimeoutError`."""
        from pipeline.kafka.damage.scan import scan  # aiokafka takes 0.3 s to import

        found = scan(self._config, parts)
        self._damaged |= found.keys()
        return found

    def note_good(self, place: Place, begin: int, end: int) -> None:
        """Note that all batches between these offsets are good."""
        self._order.note(place, Looked(begin, end, end))

    def find_stalled(self) -> list[ReadFault]:
        """Partitions without a record since the last call although their log grows. Blocks like `recover`."""
        behind = {}
        for place, position in self._read_to.items():
            try:
                # behind a damaged header nothing may be fetched, and no end be known by that
                is_cached = place not in self._damaged
                _, end = self._consumer.get_watermark_offsets(
                    TopicPartition(*place), timeout=ENDS_TIMEOUT_S, cached=is_cached
                )
            except KafkaException:
                continue  # nothing has been fetched of it yet, or Kafka does not answer
            if position < end:
                behind[place] = position
        asked = [Question(place, at, None, "stalled") for place, at in behind.items() if self._behind.get(place) == at]
        self._behind = behind
        return [fault for question in asked if (fault := self._resolve(question)) is not None]

    def recover(self, message: Message) -> ReadFault | None:
        """A message was not taken. The fault that reading was moved past, if any; raises what cannot be mended.

        Blocks for as long as it takes to find the next readable offset.
        """
        error = message.error()
        place = (message.topic() or "", message.partition() or 0)
        if error is None and place in self._doubtful:
            self._doubtful.discard(place)
            return self._resolve(Question(place, self._read_to.get(place, 0), None, "jump"))
        code = error.code() if error is not None else None
        if error is None or code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name
            return None
        if error.fatal():
            raise KafkaException(error)
        if place in self._moved:
            return None
        if place not in self._read_to or not (code in UNREADABLE or code in OUT_OF_RANGE):
            log.warning("reader_waits", topic=place[0], reason=error.str())
            return None
        # without a time: compacted topics are read again as a whole
        return self._resolve(make_question(place, Reached(self._read_to[place]), error))

    def find_made_again(self) -> list[ReadFault]:
        """Partitions of topics that were made again: reading was moved to their beginnings. Blocks like `recover`."""
        asked = [Question(place, self._read_to[place], None, "made_again") for place in self._origins.list_changed()]
        return [fault for question in asked if (fault := self._resolve(question)) is not None]

    def _resolve(self, question: Question) -> ReadFault | None:
        """Find where reading goes on, and move reading there. None: no fault was found."""
        place = question.place
        if self._probe is None:
            self._probe = Probe(self._config)
        try:
            fault = resolve(self._probe, question._replace(topic_id=self._origins.find(place)), self._ids)
        except (KafkaException, TimeoutError) as failure:
            log.warning("recovery_waits", topic=place[0], reason=str(failure))
            time.sleep(AGAIN_AFTER_S)
            fault = ReadFault(place, "unreadable", question.position, question.position, "")
        if fault.looked is not None:
            self._order.note(place, fault.looked)
        if question.kind == "stalled" and fault.begin == fault.end:
            return None
        if fault.kind == "made_again":
            self._origins.accept(place)
        self._read_to[place] = fault.end
        self._damaged.add(place)
        self._moved.add(place)
        part = TopicPartition(*place, fault.end)
        self._consumer.incremental_unassign([part])
        self._consumer.incremental_assign([part])
        return fault if fault.begin != fault.end else None

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()
