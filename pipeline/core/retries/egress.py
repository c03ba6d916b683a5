"""Suspects our own network: when many endpoints fail at once, our way out is the more likely cause.

An endpoint counts as active when it had an outcome within the window, and as failing when the newest one is a failure.
Faults (no answer, 5xx, 429) of a fifth of the active ones within minutes, or failures of whatever kind of half of those
that were active within a day: no subscription is disabled for failing, and an alert says why. A firewall that blocks
our addresses answers 403. Times are monotonic.

The share is taken twice, of endpoints and of applications, in which each of an application's endpoints counts as a part
of it: our way out is that of all. One owner with thousands of subscriptions to a dead host is not us.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

SUSPECT_SHARE = 0.2
FAILURES_SHARE = 0.5
# A failing endpoint is tried every ten hours in the end: a shorter window would see hardly any.
FAILURES_WINDOW_US = 86_400_000_000
# With a handful of endpoints a share says nothing.
ACTIVE_MIN = 5


@dataclass(slots=True)
class Application:
    """How many endpoints of one application are active, and how many of those fail."""

    active: int = 0
    failing: int = 0

    @property
    def share(self) -> float:
        return self.failing / self.active if self.active else 0.0


class FailingShare:
    """The newest outcome of every endpoint that had one within a window."""

    __slots__ = ("_applications", "_failing", "_outcomes", "_shares", "_window_us")

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._outcomes: OrderedDict[Hashable, tuple[int, bool, Hashable]] = OrderedDict()  # oldest first
        self._applications: dict[Hashable, Application] = {}
        self._failing = 0
        self._shares = 0.0  # the sum of the applications'

    def note(self, endpoint: Hashable, owner: Hashable, now_us: int, *, is_failing: bool) -> None:
        """An endpoint of the application `owner` had an outcome."""
        known = self._outcomes.pop(endpoint, None)
        if known is not None:
            self._add(known[2], -1, is_failing=known[1])
        self._outcomes[endpoint] = (now_us, is_failing, owner)
        self._add(owner, 1, is_failing=is_failing)
        self._forget_old(now_us)

    def count(self, now_us: int) -> tuple[int, int]:
        """The numbers of failing and of all active endpoints."""
        self._forget_old(now_us)
        return self._failing, len(self._outcomes)

    def share_of_applications(self, now_us: int) -> float:
        """The mean of the applications' shares of failing endpoints."""
        self._forget_old(now_us)
        return self._shares / len(self._applications) if self._applications else 0.0

    def _add(self, owner: Hashable, count: int, *, is_failing: bool) -> None:
        application = self._applications.get(owner)
        if application is None:
            application = self._applications[owner] = Application()
        self._shares -= application.share
        application.active += count
        application.failing += count * is_failing
        self._shares += application.share
        self._failing += count * is_failing
        if not application.active:
            del self._applications[owner]

    def _forget_old(self, now_us: int) -> None:
        while self._outcomes:
            endpoint, (at_us, is_failing, owner) = next(iter(self._outcomes.items()))
            if at_us > now_us - self._window_us:
                return
            del self._outcomes[endpoint]
            self._add(owner, -1, is_failing=is_failing)


class EgressGuard:
    """Watches the outcomes of one process."""

    __slots__ = ("_failures", "_faults", "_inherited", "_inherited_until_us")

    def __init__(self, window_us: int, *, now_us: int = 0, inherited: Iterable[Hashable] = ()) -> None:
        """`inherited`: endpoints that failed before this process began, which has not seen the others yet."""
        self._faults = FailingShare(window_us)
        self._failures = FailingShare(max(window_us, FAILURES_WINDOW_US))
        self._inherited = set(inherited)
        self._inherited_until_us = now_us + window_us

    def note(self, endpoint: Hashable, owner: Hashable, now_us: int, *, is_failure: bool, is_fault: bool) -> None:
        """An endpoint of the application `owner` had an outcome."""
        self._inherited.discard(endpoint)
        self._faults.note(endpoint, owner, now_us, is_failing=is_fault)
        self._failures.note(endpoint, owner, now_us, is_failing=is_failure)

    def failing_share(self, now_us: int) -> float:
        """The share of the endpoints and applications active within the window that have faults, the smaller of both.

        0 when too few are active.
        """
        failing, active = self._faults.count(now_us)
        return min(failing / active, self._faults.share_of_applications(now_us)) if active >= ACTIVE_MIN else 0.0

    def suspects_us(self, now_us: int) -> bool:
        """Is our own way out the likely cause of the failures?"""
        if self.failing_share(now_us) > SUSPECT_SHARE:
            return True
        failing, active = self._failures.count(now_us)
        inherited = len(self._inherited) if now_us < self._inherited_until_us else 0
        failing, active = failing + inherited, active + inherited
        if active < ACTIVE_MIN or failing / active <= FAILURES_SHARE:
            return False
        return self._failures.share_of_applications(now_us) > FAILURES_SHARE
