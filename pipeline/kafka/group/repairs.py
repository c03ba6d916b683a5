"""Partitions that cannot be read where they are: stopped at once, moved on when it is known where to."""

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from pipeline.config import KafkaConfig
from pipeline.kafka.group.assigned import Assigned
from pipeline.kafka.group.clients import Clients
from pipeline.kafka.group.detours import Detours
from pipeline.kafka.group.handover import Handover
from pipeline.kafka.group.pauses import Pauses
from pipeline.kafka.readable import OUT_OF_RANGE, UNREADABLE
from pipeline.kafka.record import Place
from pipeline.kafka.recovery import Answer, Question, Reached, Recovery, make_question
from pipeline.kafka.topic_ids import TopicIds

log = structlog.get_logger()


class Repairs:
    """Repairs of reading. Belongs to the consumer's thread; `Recovery` finds the answers in one of its own."""

    def __init__(
        self,
        config: KafkaConfig,
        ids: TopicIds | None,
        clients: Clients,
        assigned: Assigned,
        pauses: Pauses,
        detours: Detours,
        handover: Handover,
    ) -> None:
        self._clients = clients
        self._assigned = assigned
        self._pauses = pauses
        self._detours = detours
        self._handover = handover
        self._recovery = Recovery(config, ids)
        self._behind: dict[Place, int] = {}

    def note_error(self, error: KafkaError, message: Message) -> None:
        """A message is an error. Stops its partition if it cannot be read there; raises a fatal one."""
        if error.fatal():
            raise KafkaException(error)
        place, code = (message.topic() or "", message.partition() or 0), error.code()
        if place not in self._assigned.reached or not (code in UNREADABLE or code in OUT_OF_RANGE):
            log.warning("consumer_waits", reason=error.str())
            return
        if place in self._assigned.stopped:
            return
        log.warning("consumer_stopped", topic=place[0], partition=place[1], reason=error.str())
        if code in UNREADABLE:
            self._detours.begin(place, self._assigned.reached[place].offset, is_suspect=True)
        else:
            self._ask(make_question(place, self._assigned.reached[place], error))

    def fits(self, place: Place, offset: int) -> bool:
        """May this record come after the ones before? Stops its partition for a look at the log if that is not sure."""
        expected = self._assigned.reached[place].offset
        verdict = self._assigned.order.judge(place, expected, offset)
        if verdict == "look":
            self._ask(Question(place, expected, None, "jump"))
        return verdict == "take"

    def find_stalled(self, ends: Mapping[Place, int]) -> None:
        """Ask about partitions of which nothing came since the last call although they go on."""
        behind = {
            place: position
            for place in self._assigned.list_moving()
            if (position := self._assigned.reached[place].offset) < ends.get(place, 0)
        }
        may_ask = self._recovery.is_idle and not self._pauses.are_all
        for place, position in behind.items():
            if may_ask and self._behind.get(place) == position:
                self._recovery.ask(self._assigned.ask_with_origin(Question(place, position, None, "stalled")))
        self._behind = behind

    def find_made_again(self) -> None:
        """Stop partitions whose topic was deleted and made again."""
        for place in self._assigned.origins.list_changed():
            if place in self._assigned.reached and place not in self._assigned.stopped:
                self._ask(Question(place, self._assigned.reached[place].offset, None, "made_again"))

    def verify(self, commits: Mapping[Place, Reached]) -> None:
        """Find out whether the logs of these were cut off before a commit. An answer comes only if so."""
        self._recovery.verify({place: commit for place, commit in commits.items() if commit.epoch is not None})

    def apply_answers(self) -> None:
        """Read on where it was found to be possible."""
        reached = self._assigned.reached
        while (answer := self._recovery.take_answer()) is not None:
            fault, place = answer.fault, answer.fault.place
            if not applies(answer, reached.get(place), is_stopped=place in self._assigned.stopped):
                continue
            if fault.looked is not None:
                self._assigned.order.note(place, fault.looked)
            if fault.kind == "unreadable" and fault.begin != fault.end:
                # of what the broker hides behind a bad batch the bytes may show more
                self._detours.begin(place, reached[place].offset, is_suspect=True)
                continue
            if fault.kind == "made_again":
                self._assigned.origins.accept(place)
            reached[place] = Reached(fault.end, reached[place].time_us)
            if fault.begin != fault.end:
                self._handover.tell_fault(fault)
                self._detours.begin(place, fault.end)
            else:
                self._clients.move(place, fault.end)
                self._pauses.go_on(place)

    def close(self) -> None:
        """End the recovery."""
        self._recovery.close()

    def _ask(self, question: Question) -> None:
        self._pauses.stop(question.place)
        self._recovery.ask(self._assigned.ask_with_origin(question))


def applies(answer: Answer, reached: Reached | None, *, is_stopped: bool) -> bool:
    """Does the answer concern the partition's present position? `reached`: that position; None: not assigned any more.

    A partition that was moved since the question was asked waits for another answer, or is read already.
    """
    fault = answer.fault
    if reached is None:
        return False
    if fault.kind == "tail_lost" and answer.position is None:
        return fault.end <= reached.offset  # found beside reading, or before an answer that goes back further
    if is_stopped:
        return reached.offset == answer.position
    return fault.kind == "unreadable" and reached.offset <= fault.begin < fault.end
