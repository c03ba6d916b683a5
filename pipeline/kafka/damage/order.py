"""Do a partition's records come in the order of the log? One that does not may be of a batch with a wrong base offset.

Gaps are usual where transactions end, were aborted, or records were compacted away; so the log is looked at, once for
all gaps in a megabyte. Offsets never go back, and never lie behind the log's end.
"""

from typing import Literal, NamedTuple

from pipeline.kafka.record import Place

Verdict = Literal["take", "drop", "look"]


class Looked(NamedTuple):
    """The log was looked at from `position` on: before `good_to` gaps are right. It ended at `log_end`."""

    position: int
    good_to: int
    log_end: int


class Order:
    """The order of offsets in one reader's partitions."""

    def __init__(self) -> None:
        self._looks: dict[Place, Looked] = {}

    def judge(self, place: Place, expected: int, offset: int) -> Verdict:
        """`look`: ask for a look at the log from `expected` on before anything is made of this record."""
        if offset == expected:
            return "take"
        looked = self._looks.get(place)
        if looked is None:
            return "look"
        if looked.position <= expected < offset < looked.good_to:
            return "take"
        if looked.position != expected:
            return "look"
        return "take" if expected < offset < looked.log_end else "drop"

    def note(self, place: Place, looked: Looked) -> None:
        """Remember that a look found nothing wrong."""
        self._looks[place] = looked

    def forget(self, place: Place) -> None:
        self._looks.pop(place, None)
