"""Suspects our own network: when many endpoints fail at once, our way out is the more likely cause.

An endpoint counts as active when it had an outcome within the window, and as failing when the newest one is a failure.
Faults (no answer, 5xx, 429) of a fifth of the active ones within minutes, or failures of whatever kind of half of those
that were active within a day: no subscription is disabled for failing, and an alert says why. A firewall that blocks
our addresses answers 403. Times are monotonic.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable

SUSPECT_SHARE = 0.2
FAILURES_SHARE = 0.5
# A failing endpoint is tried every ten hours in the end: a shorter window would see hardly any.
FAILURES_WINDOW_US = 86_400_000_000
# With a handful of endpoints a share says nothing.
ACTIVE_MIN = 5


class FailingShare:
    """The newest outcome of every endpoint that had one within a window."""

    __slots__ = ("_failing", "_outcomes", "_window_us")

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._outcomes: OrderedDict[Hashable, tuple[int, bool]] = OrderedDict()  # oldest first
        self._failing = 0

    def note(self, endpoint: Hashable, now_us: int, *, is_failing: bool) -> None:
        """An endpoint had an outcome."""
        known = self._outcomes.pop(endpoint, None)
        self._failing += is_failing - (known[1] if known is not None else 0)
        self._outcomes[endpoint] = (now_us, is_failing)
        self._forget_old(now_us)

    def count(self, now_us: int) -> tuple[int, int]:
        """The numbers of failing and of all active endpoints."""
        self._forget_old(now_us)
        return self._failing, len(self._outcomes)

    def _forget_old(self, now_us: int) -> None:
        while self._outcomes:
            endpoint, (at_us, is_failing) = next(iter(self._outcomes.items()))
            if at_us > now_us - self._window_us:
                return
            del self._outcomes[endpoint]
            self._failing -= is_failing


class EgressGuard:
    """Watches the outcomes of one process."""

    __slots__ = ("_failures", "_faults", "_inherited", "_inherited_until_us")

    def __init__(self, window_us: int, *, now_us: int = 0, inherited: Iterable[Hashable] = ()) -> None:
        """`inherited`: endpoints that failed before this process began, which has not seen the others yet."""
        self._faults = FailingShare(window_us)
        self._failures = FailingShare(max(window_us, FAILURES_WINDOW_US))
        self._inherited = set(inherited)
        self._inherited_until_us = now_us + window_us

    def note(self, endpoint: Hashable, now_us: int, *, is_failure: bool, is_fault: bool) -> None:
        """An endpoint had an outcome."""
        self._inherited.discard(endpoint)
        self._faults.note(endpoint, now_us, is_failing=is_fault)
        self._failures.note(endpoint, now_us, is_failing=is_failure)

    def failing_share(self, now_us: int) -> float:
        """The share of the endpoints active within the window that have faults; 0 when too few are active."""
        failing, active = self._faults.count(now_us)
        return failing / active if active >= ACTIVE_MIN else 0.0

    def suspects_us(self, now_us: int) -> bool:
        """Is our own way out the likely cause of the failures?"""
        if self.failing_share(now_us) > SUSPECT_SHARE:
            return True
        failing, active = self._failures.count(now_us)
        inherited = len(self._inherited) if now_us < self._inherited_until_us else 0
        failing, active = failing + inherited, active + inherited
        return active >= ACTIVE_MIN and failing / active > FAILURES_SHARE
