"""Is it them, or is it us? When many endpoints fail at once, our own way out is the more likely cause.

An endpoint counts as active when it had an outcome within the window, and as failing when the newest one is a fault.
While the share of failing ones is above the limit nobody is disabled for failing, and an alert tells why.
"""

from collections import OrderedDict
from collections.abc import Hashable

SUSPECT_SHARE = 0.2
# With a handful of endpoints a share says nothing.
ACTIVE_MIN = 5


class EgressGuard:
    """The newest outcome of every active endpoint of one process."""

    __slots__ = ("_failing", "_outcomes", "_window_us")

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._outcomes: OrderedDict[Hashable, tuple[int, bool]] = OrderedDict()  # oldest first
        self._failing = 0

    def note(self, endpoint: Hashable, now_us: int, *, is_fault: bool) -> None:
        """An endpoint had an outcome."""
        known = self._outcomes.pop(endpoint, None)
        self._failing += is_fault - (known[1] if known is not None else 0)
        self._outcomes[endpoint] = (now_us, is_fault)
        self._forget_old(now_us)

    def failing_share(self, now_us: int) -> float:
        """Of the active endpoints, how many fail; 0 when there are too few to tell."""
        self._forget_old(now_us)
        active = len(self._outcomes)
        return self._failing / active if active >= ACTIVE_MIN else 0.0

    def suspects_us(self, now_us: int) -> bool:
        """Is it rather us?"""
        return self.failing_share(now_us) > SUSPECT_SHARE

    def _forget_old(self, now_us: int) -> None:
        while self._outcomes:
            endpoint, (at_us, is_fault) = next(iter(self._outcomes.items()))
            if at_us > now_us - self._window_us:
                return
            del self._outcomes[endpoint]
            self._failing -= is_fault
