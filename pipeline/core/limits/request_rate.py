"""How many requests a caller may send: a rate with a burst, by key. Pure; time is handed in."""

from collections import OrderedDict
from collections.abc import Hashable

from pipeline.core.limits.token_bucket import CellRate

KEYS_MAX = 100_000


class RequestRate:
    """`rate_per_s`: in the long run; `burst`: at once. Keys used longest ago are forgotten beyond `keys_max`."""

    __slots__ = ("_keys_max", "_rate", "_served_until_s")

    def __init__(self, *, rate_per_s: float, burst: int, keys_max: int = KEYS_MAX) -> None:
        self._rate = CellRate(interval=1 / rate_per_s, burst=burst)
        self._keys_max = keys_max
        self._served_until_s: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._served_until_s)

    def take(self, key: Hashable, now_s: float) -> float:
        """Count a request that may be served now, and return 0. Else return the seconds to wait, at least."""
        served_until_s = self._served_until_s.get(key, 0.0)
        wait_s = self._rate.wait(served_until_s, now_s)
        if wait_s > 0:
            return wait_s
        self._served_until_s[key] = self._rate.serve(served_until_s, now_s)
        self._served_until_s.move_to_end(key)
        if len(self._served_until_s) > self._keys_max:
            self._served_until_s.popitem(last=False)
        return 0.0
