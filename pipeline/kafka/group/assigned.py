"""The partitions that this member reads: the offset reached, the topic's id, and whether reading is stopped.

Used by the consuming thread alone.
"""

from collections.abc import Iterable

from pipeline.kafka.damage.order import Order
from pipeline.kafka.group.delays import Delays
from pipeline.kafka.record import Place
from pipeline.kafka.recovery import Question, Reached
from pipeline.kafka.topic_ids import Origins


class Assigned:
    """`reached` has every assigned partition, and no other."""

    __slots__ = ("delays", "order", "origins", "reached", "stopped")

    def __init__(self, delays: Delays, origins: Origins) -> None:
        self.reached: dict[Place, Reached] = {}
        self.stopped: set[Place] = set()  # cannot be read where it is; recovery finds where reading goes on
        self.delays = delays
        self.origins = origins
        self.order = Order()

    def list_moving(self) -> list[Place]:
        """Partitions that neither wait for a time nor for recovery."""
        return [place for place in self.reached if place not in self.delays and place not in self.stopped]

    def ask_with_origin(self, question: Question) -> Question:
        """The question, with the id of the topic in which its position counts."""
        return question._replace(topic_id=self.origins.find(question.place))

    def forget(self, places: Iterable[Place]) -> None:
        """Forget partitions that other members read now."""
        for place in places:
            self.stopped.discard(place)
            self.delays.forget(place)
            self.reached.pop(place, None)
            self.origins.forget(place)
            self.order.forget(place)
