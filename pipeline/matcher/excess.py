"""Retry topics for deliveries that an application has beyond its share of the deliveries topic.

The more it has written there lately, the longer they wait: what comes back before deliver can have got through what
lies before it finds its lanes full, and is parked once more. A topic is given what deliver settles in twice its delay,
as by a full lane (`core.lanes.gate`); the longest one takes the rest. No clock in here.
"""

from collections import OrderedDict
from collections.abc import Sequence

from pipeline.core.units import SECOND_US
from pipeline.topics import Topic

WINDOW_US = 60 * SECOND_US
APPLICATIONS_MAX = 1_000  # those that were quiet for longest are forgotten


class Lately:
    """How much one application has written, in this window and in the one before."""

    __slots__ = ("before", "count", "from_us")

    def __init__(self, now_us: int) -> None:
        self.from_us = now_us
        self.count = self.before = 0

    def measure(self, now_us: int) -> float:
        """How much in the last `WINDOW_US`, as if that of the window before had come evenly."""
        passed = (now_us - self.from_us) / WINDOW_US
        if not 0 <= passed < 1:
            self.before = self.count if 1 <= passed < 2 else 0
            self.count, self.from_us, passed = 0, now_us, 0.0
        return self.count + self.before * (1 - passed)


class Excess:
    """Counts what applications have beyond their shares."""

    def __init__(self, topics: Sequence[Topic]) -> None:
        """`topics`: to choose from, the shortest delay first."""
        self._topics = topics
        self._lately: OrderedDict[str, Lately] = OrderedDict()

    def choose(self, application_id: str, now_us: int, settled_per_s: float, *, count: int = 1) -> Topic:
        """Count so many more deliveries of the application; returns the retry topic that they wait in."""
        lately = self._lately.get(application_id)
        if lately is None:
            if len(self._lately) >= APPLICATIONS_MAX:
                self._lately.popitem(last=False)
            lately = self._lately[application_id] = Lately(now_us)
        else:
            self._lately.move_to_end(application_id)
        waiting = lately.measure(now_us)
        lately.count += count
        return next((topic for topic in self._topics if waiting < 2 * topic.delay_s * settled_per_s), self._topics[-1])
