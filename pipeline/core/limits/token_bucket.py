"""A rate with a burst: tokens are earned with time, and each start takes one. Pure; microseconds are handed in.

What only asks "may one more start?", for thousands of keys, keeps one number a key instead: see `CellRate`.
"""

from pipeline.core.units import SECOND_US


class TokenBucket:
    """Tokens: `rate_per_s` are earned, at most `burst` are kept (at least one). Both may be changed."""

    __slots__ = ("_earned_at_us", "burst", "rate_per_s", "tokens")

    def __init__(self, *, rate_per_s: float, burst: float, tokens: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self.tokens = tokens  # below zero after starts that there was no token for
        self._earned_at_us = 0

    def earn(self, now_us: int) -> float:
        """Add the tokens earned since the last call; returns how many there are."""
        earned = max(0, now_us - self._earned_at_us) * self.rate_per_s / SECOND_US
        self.tokens = min(max(1.0, self.burst), self.tokens + earned)
        self._earned_at_us = now_us
        return self.tokens

    def wait_us(self, now_us: int) -> int:
        """Microseconds until there is a token; 0 if there is one now."""
        tokens = self.earn(now_us)
        return 0 if tokens >= 1 else 1 + round((1 - tokens) / self.rate_per_s * SECOND_US)

    def take(self) -> None:
        """Take a token. Without one the balance becomes negative, and later starts wait longer."""
        self.tokens -= 1


class CellRate:
    """The generic cell rate algorithm (ITU-T I.371): keeps of each key the time until which it is served.

    Times are of any unit, the same for all.
    """

    __slots__ = ("_interval", "_tolerance")

    def __init__(self, *, interval: float, burst: float) -> None:
        """`interval`: between two starts in the long run; `burst`: so many may start at once, one at least."""
        self._interval = interval
        self._tolerance = max(0.0, (burst - 1) * interval)

    def wait(self, served_until: float, now: float) -> float:
        """How long until one more may start; 0 or less: now."""
        return served_until - self._tolerance - now

    def room(self, served_until: float, now: float) -> int:
        """How many may start now."""
        ahead = max(served_until, now) - now
        return int((self._tolerance - ahead) / self._interval) + 1 if ahead <= self._tolerance else 0

    def serve(self, served_until: float, now: float) -> float:
        """Start one more; returns the time until which the rate is used up."""
        return max(served_until, now) + self._interval
