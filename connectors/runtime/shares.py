"""Records that each lane and application may hold and have open in this process: the budget, as the flow uses it."""

from collections.abc import Callable, Hashable

from connectors.runtime.partition import Work
from connectors.sink import Parking
from pipeline.core.lanes.budget import Application, Budget, Standing
from pipeline.core.lanes.lane import Gate
from pipeline.core.lanes.lanes import Lanes

# A process at its limit pauses reading only for moments. A longer pause means slow lanes: then no application may fill
# the process, so that records behind theirs in the log are read.
FULL_MAX_S = 1.0
FILL_AGAIN_US = 60_000_000


class Shares:
    """Bounds how many records an application may hold. For a sink without `parking` there is no bound."""

    def __init__(
        self, budget: Budget, lanes: Lanes[Work], find_gate: Callable[[Hashable], Gate], parking: Parking | None
    ) -> None:
        self._budget = budget
        self._lanes = lanes
        self._find_gate = find_gate
        self._parking = parking
        self._may_fill_at_us = 0
        self.has_place = budget.has_place

    def take_in(self, work: Work, at_us: int) -> bool:
        """Count a record among what its lane holds. False: the lane holds its share."""
        if self._parking is None:
            return True
        key = work.incoming.lane
        standing = self._find_gate(key).standing(self._lanes.length(key), at_us)
        account = self._budget.look_up(key)
        if account is None:
            account = self._budget.find(key, self._parking.owner(key), standing)
        else:
            self._budget.update(account, standing)
        if not self._budget.admits(account):
            return False
        self._budget.take(account, work.size_bytes)
        work.account = account
        return True

    def give_back(self, work: Work) -> None:
        """The record is settled, parked or dropped."""
        if work.account is not None:
            self._budget.give_back(work.account, work.size_bytes)
            work.account = None

    def may_open(self, application: Hashable, standing: Standing) -> bool:
        """Is there a place for a lane of this application and standing?"""
        return not isinstance(application, Application) or self._budget.may_open(application, standing)

    def open(self, gate: Gate, key: Hashable, at_us: int) -> None:
        """Note that the lane has started work: it holds a place."""
        account = self._budget.look_up(key)
        if account is not None:
            self._budget.update(account, gate.standing(self._lanes.length(key), at_us))
            self._budget.open(account)

    def close(self, gate: Gate, key: Hashable, at_us: int) -> bool:
        """Note that the lane's work ended: its place is free. The record may not be settled yet. True: see `update`."""
        account = self._budget.look_up(key)
        if account is None:
            return False
        self._budget.close(account)
        return self.update(gate, key, at_us)

    def update(self, gate: Gate, key: Hashable, at_us: int) -> bool:
        """Bring a lane's standing up to date. True: its lane holds more than its share now."""
        account = self._budget.look_up(key)
        if account is None:
            return False
        self._budget.update(account, gate.standing(self._lanes.length(key), at_us))
        return self._budget.is_over(account) and self._lanes.length(key) > 0

    def is_over(self, key: Hashable) -> bool:
        """Does this lane hold more than its share?"""
        account = self._budget.look_up(key)
        return account is not None and self._budget.is_over(account)

    def allow_filling(self, at_us: int, full_for_s: float) -> None:
        """May one application fill the process? To be called regularly. `full_for_s`: since reading has stopped."""
        if full_for_s > FULL_MAX_S:
            self._may_fill_at_us = at_us + FILL_AGAIN_US
        self._budget.may_fill = at_us >= self._may_fill_at_us

    def observe(self) -> None:
        """See `Budget.observe`."""
        self._budget.observe()

    def rotate(self) -> None:
        """See `Budget.rotate`."""
        self._budget.rotate()
