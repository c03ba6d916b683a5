"""Bounds of what each application has in the deliveries topic that is not settled.

A partition of that topic is read in its order. 300 events that match 500 subscriptions each would hold up whatever is
written behind them until deliver has read their 150,000 deliveries: 17 s when all of them went to a closed port. So an
application may have as much there as is still free (a dynamic threshold, see `core.lanes.budget`). What it has beyond
that waits in a retry topic, which deliver reads with a client of its own (`excess`).

Deliver's commits say how many are settled, not which: those written first are taken to be. A delivery that is open for
long then counts as one that was written later, maybe by another application; lanes bound how many there are. What
others write into the topic (another matcher, this one before its restart, a gateway) is in those numbers as well; see
`looks`. Large deliveries count as several. No clock and no client in here.
"""

from collections import deque
from collections.abc import Callable

# As much as deliver settles in this time may be there, or `bound_min`: what is known of its commits is a second old.
BOUND_S = 2.0
# Each application may have so many, whatever others have: one with little work does not wait for one with much.
ALWAYS = 100
# Each of these bytes counts as one more record: 8,000 records of this size are what a deliver holds in flight.
UNIT_BYTES = 8 * 1024
LOOK_FROM = 0.25  # share of the bound from which on it matters how many are settled


class Run:
    """Deliveries of one application, written one after the other, each of the same weight."""

    __slots__ = ("application_id", "records", "weight")

    def __init__(self, application_id: str, weight: int) -> None:
        self.application_id = application_id
        self.weight = weight
        self.records = 0


class Outstanding:
    """Counts what was written, and forgets what is settled."""

    def __init__(self, *, bound_min: int, on_many: Callable[[], None] = lambda: None) -> None:
        """`on_many`: called while it is time to look how many are settled, at each delivery."""
        self._bound_min = self._bound = bound_min
        self._on_many = on_many
        self._runs: deque[Run] = deque()  # the first one written first
        self._records = self._weight = 0
        self._weights: dict[str, int] = {}  # by application
        self._taken = 0

    def __len__(self) -> int:
        """Deliveries that may not be settled."""
        return self._records

    @property
    def taken(self) -> int:
        """Deliveries that were ever taken."""
        return self._taken

    @property
    def are_many(self) -> bool:
        """Are there so many that it is time to look how many are settled?"""
        return self._weight > self._bound_min * LOOK_FROM

    @property
    def settled_per_s(self) -> float:
        """How fast deliver settles, or would have to for the least that may be there."""
        return self._bound / BOUND_S

    def weigh(self, application_id: str) -> int:
        """The weight of an application's deliveries: records, of which large ones count as several."""
        return self._weights.get(application_id, 0)

    def take(self, application_id: str, size_bytes: int) -> bool:
        """Count one more delivery of the application if it may have one there."""
        own = self.weigh(application_id)
        if own >= ALWAYS and own >= self._bound - self._weight:
            return False
        weight = 1 + size_bytes // UNIT_BYTES
        run = self._runs[-1] if self._runs else None
        if run is None or run.application_id != application_id or run.weight != weight:
            run = Run(application_id, weight)
            self._runs.append(run)
        run.records += 1
        self._records += 1
        self._taken += 1
        self._weight += weight
        self._weights[application_id] = own + weight
        if self.are_many:
            self._on_many()
        return True

    def settle(self, taken: int, unsettled: int) -> None:
        """Forget what is settled: of the first `taken` deliveries that were ever taken, all but `unsettled` at most."""
        surplus = self._records - (self._taken - taken) - unsettled
        while surplus > 0:
            run = self._runs[0]
            gone = min(surplus, run.records)
            surplus -= gone
            self._forget(run, gone)

    def adapt(self, settled_per_s: float) -> None:
        """Adapt the bound to how fast deliver is."""
        self._bound = max(self._bound_min, int(settled_per_s * BOUND_S))

    def _forget(self, run: Run, records: int) -> None:
        run.records -= records
        self._records -= records
        weight = records * run.weight
        self._weight -= weight
        left = self._weights[run.application_id] - weight
        if left:
            self._weights[run.application_id] = left
        else:
            del self._weights[run.application_id]
        if not run.records:
            self._runs.popleft()
