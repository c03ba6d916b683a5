"""How many requests a caller may send: a rate with a burst, by key. Pure; time is handed in.

The generic cell rate algorithm (ITU-T I.371): one number for each key, the time until which it has been served.
"""

from collections import OrderedDict
from collections.abc import Hashable

KEYS_MAX = 100_000


class RequestRate:
    """`rate_per_s`: in the long run; `burst`: at once. Keys used longest ago are forgotten beyond `keys_max`."""

    __slots__ = ("_interval_s", "_keys_max", "_served_until_s", "_tolerance_s")

    def __init__(self, *, rate_per_s: float, burst: int, keys_max: int = KEYS_MAX) -> None:
        self._interval_s = 1 / rate_per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._keys_max = keys_max
        self._served_until_s: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._served_until_s)

    def take(self, key: Hashable, now_s: float) -> float:
        """0: the request may be served, and is counted. Else how many seconds to wait, at least."""
        served_until_s = max(self._served_until_s.get(key, 0.0), now_s)
        wait_s = served_until_s - now_s - self._tolerance_s
        if wait_s > 0:
            return wait_s
        self._served_until_s[key] = served_until_s + self._interval_s
        self._served_until_s.move_to_end(key)
        if len(self._served_until_s) > self._keys_max:
            self._served_until_s.popitem(last=False)
        return 0.0
