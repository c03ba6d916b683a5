"""Finding out, in a thread of its own, how reading of a partition goes on that cannot be read where it is.

The thread that consumes only asks and looks for answers: everything else goes on meanwhile.
"""

import queue
import threading
import time
from collections import deque
from typing import Literal, NamedTuple

import structlog
from confluent_kafka import KafkaException

from pipeline.config import KafkaConfig
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.readable import Probe
from pipeline.kafka.record import Place

AGAIN_AFTER_S = 1.0
# How far before the newest record that was read reading begins again when the end of the log was lost: records are not
# in the order of their times, and clocks differ. What is repeated has the ids it had.
TAIL_MARGIN_MS = 600_000

log = structlog.get_logger()


class Question(NamedTuple):
    """Reading stopped at `position`. `newest_ms`: the time of the newest record that was read, None: not known."""

    place: Place
    position: int
    newest_ms: int | None
    kind: Literal["unreadable", "out_of_range", "truncated"]


class Recovery:
    """Asked and listened to by the consuming thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._answers: deque[ReadFault] = deque()
        self._thread: threading.Thread | None = None

    def ask(self, question: Question) -> None:
        """The answer comes some time later, whatever happens to Kafka."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recovery", daemon=True)
            self._thread.start()
        self._questions.put(question)

    def take_answer(self) -> ReadFault | None:
        """A fault whose begin and end are equal was none: reading goes on where it stopped."""
        return self._answers.popleft() if self._answers else None

    def close(self) -> None:
        """Does not wait: the thread ends with its present question."""
        if self._thread is not None:
            self._questions.put(None)

    def _run(self) -> None:
        probe = Probe(self._config)
        try:
            while (question := self._questions.get()) is not None:
                try:
                    self._answers.append(resolve(probe, question))
                except (KafkaException, TimeoutError) as error:
                    log.warning("recovery_waits", topic=question.place[0], reason=str(error))
                    time.sleep(AGAIN_AFTER_S)
                    self._questions.put(question)
        finally:
            probe.close()


def resolve(probe: Probe, question: Question) -> ReadFault:
    """Where reading goes on. Blocks. Raises `KafkaException` or `TimeoutError` when Kafka does not answer."""
    place, position = question.place, question.position
    if question.kind != "unreadable":
        low, high = probe.bounds(place)
        if position < low:
            # the gap is found, and what retention took is counted, when the next record comes
            return ReadFault(place, "unreadable", low, low, "")
        if position > high or question.kind == "truncated":
            restart = _find_restart(probe, question, low, high)
            return ReadFault(place, "tail_lost", position, restart, f"the log was cut off; it ends at {high}")
    start, end, reason = probe.find(place, position)
    return ReadFault(place, "unreadable", start, end, reason)


def _find_restart(probe: Probe, question: Question, low: int, high: int) -> int:
    if question.newest_ms is None:
        return low
    found = probe.find_by_time(question.place, question.newest_ms - TAIL_MARGIN_MS)
    # None: all that is left is older than what was read
    return high if found is None else max(low, found)
