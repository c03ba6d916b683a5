"""Looks at how much of the deliveries topic is settled: of this matcher's deliveries, or of what others wrote?

Deliver reads a partition in its order. So this matcher's deliveries that were there at a look are settled when nearly
all that was there then is, whatever others have written behind it. Judged by what is unsettled now, the flood of an
application that another matcher serves takes the room of the applications of this one.
"""

from typing import NamedTuple

from pipeline.kafka.settled import Ends, Progress
from pipeline.matcher.outstanding import Outstanding

LOOKS_MAX = 12


class Look(NamedTuple):
    """`taken`: deliveries that had been taken before it, of which `on_way` may be behind the topic's `ends`."""

    taken: int
    on_way: int
    ends: Ends


class Looks:
    """Remembers looks as long as they may say something: late ones close together, early ones far apart."""

    def __init__(self) -> None:
        self._looks: list[Look] = []

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, look: Look) -> None:
        """Remember one more."""
        self._looks.append(look)
        if len(self._looks) > LOOKS_MAX:
            del self._looks[1::2]

    def settle(self, outstanding: Outstanding, progress: Progress) -> None:
        """Forget deliveries that are settled by now."""
        for look in self._looks:
            outstanding.settle(look.taken, progress.count_unsettled(look.ends) + look.on_way)
        forgotten = outstanding.taken - len(outstanding)
        self._looks = [look for look in self._looks if look.taken > forgotten]
