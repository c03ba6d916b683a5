"""How much one destination may get from all tenants together: a rate, and requests at once. Pure; time is handed in.

The key is the addressed (host, port), across all subscriptions. It is not the IP address: thousands of unrelated hosts
share the few addresses of a content delivery network.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from pipeline.core.limits.token_bucket import CellRate
from pipeline.core.units import SECOND_US

# when something ends is not known: ask again so much later
BUSY_WAIT_US = SECOND_US
DESTINATIONS_MAX = 100_000
FORGET_STEPS = 16


@dataclass(slots=True)
class Usage:
    """`served_until_us`: at the permitted rate, what was started so far takes until then."""

    served_until_us: float = 0.0
    open: int = 0


class DestinationLimiter:
    """`rate_per_s`: requests started, a second's worth of them at once; `open_max`: requests in flight. 0: no bound.

    A destination that nothing is known of has a whole second's worth. Forgets the ones used longest ago, beyond
    `destinations_max`; those with requests in flight it keeps, and the process bounds their number.
    """

    __slots__ = ("_destinations_max", "_open_max", "_rate", "_uses")

    def __init__(self, *, rate_per_s: float, open_max: int, destinations_max: int = DESTINATIONS_MAX) -> None:
        self._rate = CellRate(interval=SECOND_US / rate_per_s, burst=rate_per_s) if rate_per_s > 0 else None
        self._open_max = open_max
        self._destinations_max = destinations_max
        self._uses: OrderedDict[Hashable, Usage] = OrderedDict()

    def __len__(self) -> int:
        """Destinations that are remembered."""
        return len(self._uses)

    def try_start(self, destination: Hashable, now_us: int) -> int:
        """0: the request has started, and `end` must follow. Else nothing has: microseconds to wait, at least."""
        if self._rate is None and not self._open_max:
            return 0
        use = self._uses.get(destination)
        if use is None:
            use = self._uses[destination] = Usage()
            self._forget()
        else:
            self._uses.move_to_end(destination)
        if self._open_max and use.open >= self._open_max:
            return BUSY_WAIT_US
        if self._rate is not None:
            wait_us = self._rate.wait(use.served_until_us, now_us)
            if wait_us > 0:
                return max(1, round(wait_us))
            use.served_until_us = self._rate.serve(use.served_until_us, now_us)
        use.open += 1
        return 0

    def end(self, destination: Hashable) -> None:
        """A request that `try_start` let go has ended, however."""
        use = self._uses.get(destination)
        if use is not None and use.open > 0:
            use.open -= 1

    def _forget(self) -> None:
        # a few steps for each one that is added are enough to come to one that is not in use
        for _ in range(FORGET_STEPS):
            if len(self._uses) <= self._destinations_max:
                return
            destination, use = self._uses.popitem(last=False)
            if use.open > 0:
                self._uses[destination] = use
