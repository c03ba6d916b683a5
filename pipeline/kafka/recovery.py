"""Finds out, in a thread, where reading of a partition goes on that cannot be read at its position.

The thread that consumes only asks and looks for answers: everything else goes on meanwhile.
"""

import queue
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Literal, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.order import Looked
from pipeline.kafka.options import open_admin
from pipeline.kafka.partitions import LATEST, ask_ends
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.readable import UNREADABLE, Probe
from pipeline.kafka.record import Place
from pipeline.kafka.topic_ids import TopicIds, describe_other

AGAIN_AFTER_S = 1.0
# How far before the newest record that was read reading begins again when the end of the log was lost: records are not
# in the order of their times, and clocks differ. Repeated records have the ids they had.
TAIL_MARGIN_MS = 600_000

log = structlog.get_logger()


# stalled: nothing comes, and the log goes on. jump: a record came that does not follow.
QuestionKind = Literal["unreadable", "stalled", "jump", "out_of_range", "truncated", "made_again"]


BY_BYTES = frozenset({"unreadable", "stalled", "jump"})


class Reached(NamedTuple):
    """How far a partition is read: the next offset, and of the record before it the time and its leader's epoch."""

    offset: int
    time_us: int = 0  # 0: not known
    epoch: int | None = None


class Question(NamedTuple):
    """Where does reading go on after it stopped at `position`?

    `newest_ms`: the time of the newest record that was read; None: not known. `cut_at`: the offset at which the log was
    cut off before it grew again; None: not cut off, or not known. `topic_id`: the id of the topic that `position`
    belongs to; None: not known.
    """

    place: Place
    position: int
    newest_ms: int | None
    kind: QuestionKind
    cut_at: int | None = None
    topic_id: str | None = None


class Answer(NamedTuple):
    """A finding. `position`: that of the question it answers; None: it answers no question.

    The reader must be at `position` still. If another answer or a detour has moved it, applying this one would skip
    records.
    """

    fault: ReadFault
    position: int | None


def make_question(place: Place, reached: Reached, error: KafkaError) -> Question:
    """The question to ask after an error that stopped a partition."""
    code, text = error.code(), error.str()
    kind: QuestionKind
    if code in UNREADABLE:
        kind = "unreadable"
    elif code == KafkaError._LOG_TRUNCATION or "truncation" in text:  # noqa: SLF001 - the library's name
        kind = "truncated"
    else:
        kind = "out_of_range"
    return Question(place, reached.offset, reached.time_us // 1000 or None, kind, parse_cut(text))


class Recovery:
    """Answers questions of the consuming thread in a thread of its own, which starts with the object."""

    def __init__(self, config: KafkaConfig, ids: TopicIds | None = None) -> None:
        self._config = config
        self._ids = ids
        self._questions: queue.SimpleQueue[Question | Mapping[Place, Reached] | None] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        threading.Thread(target=self._run, name="recovery", daemon=True).start()

    def ask(self, question: Question) -> None:
        """Ask a question. The answer comes later, also when Kafka is away meanwhile."""
        self._questions.put(question)

    @property
    def is_idle(self) -> bool:
        """Does no question wait?"""
        return self._questions.empty()

    def verify(self, reached: Mapping[Place, Reached]) -> None:
        """Check whether a log was cut off below these positions and has grown again. An answer comes only if so."""
        if reached:
            self._questions.put(reached)

    def take_answer(self) -> Answer | None:
        """Take the next answer. A fault with equal begin and end is none: reading goes on where it stopped.

        A stall that proves to be none has no answer.
        """
        return self._answers.popleft() if self._answers else None

    def close(self) -> None:
        """End the thread after its present question, without waiting for it."""
        self._questions.put(None)

    def _run(self) -> None:
        probe: Probe | None = None  # a client of its own, which most processes never need
        try:
            while (question := self._questions.get()) is not None:
                try:
                    probe = probe or Probe(self._config)
                    if isinstance(question, Question):
                        fault = resolve(probe, question, self._ids)
                        if question.kind != "stalled" or fault.begin != fault.end:
                            self._answers.append(Answer(fault, question.position))
                    else:
                        cuts = find_cuts(self._config, choose_suspects(self._config, question))
                        self._answers.extend(Answer(cut, None) for cut in cuts)
                except (KafkaException, TimeoutError) as error:
                    log.warning("recovery_waits", reason=str(error))
                    time.sleep(AGAIN_AFTER_S)
                    self._questions.put(question)
        finally:
            if probe is not None:
                probe.close()


def find_cuts(config: KafkaConfig, reached: Mapping[Place, Reached]) -> list[ReadFault]:
    """Which of these logs were cut off before the place that was reached. Blocks; raises as `resolve`."""
    asked = {place: (at.offset, at.epoch) for place, at in reached.items() if at.epoch is not None}
    if not asked:
        return []
    from pipeline.kafka.damage import cuts  # aiokafka takes 0.3 s to import

    return cuts.find_cuts(config, asked)


def choose_suspects(config: KafkaConfig, reached: Mapping[Place, Reached]) -> dict[Place, Reached]:
    """Choose the partitions whose leader changed, or whose end is before their commit. Blocks; raises as `resolve`."""
    ends = ask_ends(open_admin(config), reached, LATEST)
    return {
        place: at for place, at in reached.items() if ends[place].epoch != at.epoch or ends[place].offset < at.offset
    }


def parse_cut(text: str) -> int | None:
    """Where the log was cut off: librdkafka tells it in words only."""
    found = re.search(r"truncation detected.*broker end offset is (\d+)", text)
    return int(found[1]) if found else None


def resolve(probe: Probe, question: Question, ids: TopicIds | None = None) -> ReadFault:
    """Where reading goes on. Blocks. Raises `KafkaException` or `TimeoutError` when Kafka does not answer."""
    place, position = question.place, question.position
    if question.kind not in BY_BYTES:
        if ids is not None and question.topic_id is not None:
            ids.ask()
            if ids.find(place[0]) != question.topic_id:
                begin, _ = probe.bounds(place)
                return ReadFault(place, "made_again", position, begin, describe_other(question.topic_id), lost=position)
        low, high = probe.bounds(place)
        if position < low:
            # of a log that was never read nothing was missed
            return ReadFault(place, "head_lost", position or low, low, f"the log begins at {low}")
        if position > high or question.kind == "truncated":
            if question.cut_at is not None:
                restart = max(low, min(question.cut_at, high))
                reason = f"the log was cut off at {question.cut_at} and ends at {high} now"
            else:
                restart = _find_restart(probe, question, low, high)
                reason = f"the log ends at {high}"
            lost = max(0, position - (question.cut_at if question.cut_at is not None else high))
            return ReadFault(place, "tail_lost", position, restart, reason, lost)
    seen = probe.look(place, position)
    if seen.bad is not None and seen.bad.end is not None:
        return ReadFault(place, "unreadable", seen.bad.begin, seen.bad.end, seen.bad.reason)
    if question.kind in ("stalled", "jump"):
        looked = Looked(position, seen.good_to, seen.log_end)
        return ReadFault(place, "unreadable", position, position, "", looked=looked)
    # its bytes are as they were written: too much for a client, or damaged on the way to it
    return probe.unpack(place, position) or ReadFault(place, "unreadable", position, position, "")


def _find_restart(probe: Probe, question: Question, low: int, high: int) -> int:
    if question.newest_ms is None:
        return low
    found = probe.find_by_time(question.place, question.newest_ms - TAIL_MARGIN_MS)
    # None: every record left is older than those that were read
    return high if found is None else max(low, found)
