"""The gate of one endpoint: concurrency (AIMD), a rate limit, a breaker with slow start.

Additive increase, multiplicative decrease: a window of successes at full use adds one to the limit, a sign of overload
halves it, once per window. The breaker opens when most of the last outcomes were failures, lets one probe through when
its time is over, and closes on the first success; the limit then starts at one. Times are microseconds, handed in.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.lanes.budget import Standing
from pipeline.core.lanes.lane import Jam
from pipeline.core.limits.token_bucket import TokenBucket
from pipeline.core.retries.tiers import choose_tier
from pipeline.core.units import SECOND_US

# 50,000 that waited for one endpoint were parked twelve times each in three minutes before they went up a tier early
PARK_UP_FROM = 0.3
PROBES_PARKED = 20
CONCURRENCY_MAX = 100  # requests at once to one endpoint
UNKNOWN_US_PER_ITEM = 20_000.0
# A lane that has run empty could have gone on at its speed. While thousands come back at once it is slower than that:
# by the speed of that moment too few were to come back soon, and the lane was empty for half a minute, again and again.
DRAINED_FOR_US = 120 * SECOND_US
WAIT_MAX_S = 1.0  # a lane whose rate makes what waits in it wait longer than this is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """The bounds of one endpoint."""

    concurrency: int = 8  # requests at once, at the start
    concurrency_max: int = CONCURRENCY_MAX
    waiting_max: int = 500  # deliveries waiting in a lane that may be too many
    rate_per_s: float | None = None  # requests started per second; None: unlimited
    window: int = 20  # outcomes the breaker looks at
    window_failures: int = 16  # so many failures among them open it
    # So many open it while there was no success: 500 dead endpoints were sent twenty requests each.
    first_failures: int = 12
    open_first_us: int = 5 * SECOND_US
    open_max_us: int = 300 * SECOND_US
    slow_after_us: int = SECOND_US  # without an end for so long, or requests that take so long
    # How long a full lane takes is a guess, and a bad one while the endpoint, or this machine, has a bad moment:
    # unbounded, deliveries parked in a minute of overload came back after ten. Too early costs a trip through Kafka.
    park_max_s: int = 60
    # Of an endpoint that fails it may be twice as long as it has failed, up to this: 150,000 deliveries of endpoints
    # that were away for long came back each minute, and took half of a processor.
    park_failing_max_s: int = 600


class EndpointGate:
    """One endpoint's gate. Satisfies `lane.Gate`; outcomes come in by `succeed` and `fail`."""

    __slots__ = (
        "_cut_at_us",
        "_drained_until_us",
        "_drained_us_per_item",
        "_failing_from_us",
        "_growth",
        "_is_starting",
        "_open_for_us",
        "_outcomes",
        "_policy",
        "_progress_at_us",
        "_rate",
        "_taken_us",
        "limit",
        "open",
        "opened_until_us",
        "parked",
    )

    def __init__(self, policy: GatePolicy) -> None:
        self._policy = policy
        self.limit = policy.concurrency
        self.open = 0
        self.parked: Counter[int] = Counter()  # parked and not back yet, by tier
        self.opened_until_us = 0  # the breaker; 0: closed
        self._open_for_us = policy.open_first_us
        self._is_starting = False  # slow start: every success adds to the limit
        self._drained_us_per_item = 0.0
        self._drained_until_us = 0
        self._growth = 0  # successes at full use since the limit last changed
        self._cut_at_us = 0
        self._outcomes: deque[bool] = deque(maxlen=policy.window)
        self._failing_from_us: int | None = None  # since when no request has succeeded; None: the last one did
        self._progress_at_us = 0
        self._taken_us = 0.0  # how long a request takes, smoothed
        self._rate = make_bucket(policy.rate_per_s, tokens=policy.rate_per_s or 0.0)  # None: unlimited

    def adopt(self, policy: GatePolicy) -> None:
        """Other bounds from now on; everything learned about the endpoint stays."""
        if policy.rate_per_s != self._policy.rate_per_s:
            if self._rate is None or policy.rate_per_s is None:
                self._rate = make_bucket(policy.rate_per_s, tokens=1.0)
            else:
                self._rate.tokens = min(self._rate.tokens, 1.0)
                self._rate.rate_per_s = self._rate.burst = policy.rate_per_s
        self._policy = policy
        self.limit = min(self.limit, policy.concurrency_max)

    # What lanes ask.

    def accepts(self, waiting: int, now_us: int) -> bool:
        if self.opened_until_us > now_us:
            return False
        if self.opened_until_us:  # half open: the probe and one behind it
            return waiting < 1
        return True

    def is_long(self, waiting: int) -> bool:
        return waiting >= self._policy.waiting_max

    def room(self, now_us: int) -> int:
        if self.opened_until_us:
            return 1 - self.open if self.opened_until_us <= now_us else 0
        room = self.limit - self.open
        if room > 0 and self._rate is not None:
            room = min(room, int(self._rate.earn(now_us)))
        return room

    def wakes_at_us(self, now_us: int) -> int | None:
        if self.opened_until_us:
            return self.opened_until_us if self.opened_until_us > now_us else None
        if self._rate is None or self.open >= self.limit:
            return None
        return now_us + max(1000, self._rate.wait_us(now_us))

    def is_slow(self, now_us: int) -> bool:
        after_us = self._policy.slow_after_us
        return self._taken_us > after_us or (self.open > 0 and now_us - self._progress_at_us > after_us)

    def standing(self, waiting: int, now_us: int) -> Standing:
        rate_per_s = self._policy.rate_per_s
        if (
            self.opened_until_us
            or self.is_slow(now_us)
            or (rate_per_s is not None and waiting > rate_per_s * WAIT_MAX_S)
        ):
            return Standing.SLOW
        return Standing.PROVEN if self._outcomes and self._outcomes[-1] else Standing.UNKNOWN

    def start(self, now_us: int) -> None:
        if self.open == 0:
            self._progress_at_us = now_us
        self.open += 1
        if self._rate is not None:
            self._rate.take()

    def end(self, now_us: int) -> None:
        self.open -= 1
        self._progress_at_us = now_us

    @property
    def is_well(self) -> bool:
        """Is the breaker closed, and were half of the last outcomes successes? Not of an endpoint without outcomes."""
        return not self.opened_until_us and 0 < len(self._outcomes) <= 2 * self._outcomes.count(True)

    def note_drained(self, us_per_item: float, now_us: int) -> None:
        self._drained_us_per_item = us_per_item
        self._drained_until_us = now_us + DRAINED_FOR_US

    # What the sink tells.

    def succeed(self, now_us: int, *, started_at_us: int) -> None:
        """A request succeeded."""
        self._smooth(now_us - started_at_us)
        self._outcomes.append(True)
        self._failing_from_us = None
        policy = self._policy
        if self.opened_until_us:
            self.opened_until_us = 0
            self._open_for_us = policy.open_first_us
            self._outcomes.clear()
            self.limit, self._growth, self._is_starting = 1, 0, True
            return
        if self.open < self.limit and not self._is_starting:
            return  # the limit was not what held it back
        self._growth += 1
        if self._is_starting or self._growth >= self.limit:
            self._growth = 0
            self.limit = min(self.limit + 1, policy.concurrency_max)
            if self.limit >= policy.concurrency:
                self._is_starting = False

    def fail(self, now_us: int, *, started_at_us: int, is_overload: bool, is_fault: bool) -> None:
        """Note a failed request. `is_overload`: lower the limit. `is_fault`: of the endpoint; the breaker counts it."""
        self._smooth(now_us - started_at_us)
        # requests that were on their way when the limit was cut say nothing about the new one
        if is_overload and started_at_us >= self._cut_at_us:
            self.limit = max(1, self.limit // 2)
            self._growth = 0
            self._cut_at_us = now_us
        if not is_fault:
            self._outcomes.append(True)
            self._failing_from_us = None
            return
        self._outcomes.append(False)
        if self._failing_from_us is None:
            self._failing_from_us = started_at_us
        if self.opened_until_us:
            if started_at_us >= self.opened_until_us:  # the probe; others were on their way before
                self._open_for_us = min(2 * self._open_for_us, self._policy.open_max_us)
                self.opened_until_us = now_us + self._open_for_us
        elif self._is_failing():
            self.opened_until_us = now_us + self._open_for_us

    def choose_tier(self, jam: Jam, now_us: int, delays_s: Sequence[int], *, waited_in: int | None = None) -> int:
        """Choose the tier in which to wait for the breaker's probe, or for a turn, by the tiers' ascending `delays_s`.

        `waited_in`: the tier it comes from, when it is parked again. An endpoint without a success has no speed to
        reckon with: then each time is longer. Thousands of deliveries of hanging endpoints came back every second.

        A tier takes what the lane gets through in twice its delay, so that what comes back finds room, and the lane
        something to do. The longest one takes the rest. What is parked of a failing endpoint starts at the pace of all
        parked work: 500 endpoints that refused came back every ten seconds for four turns each.
        """
        longest = self._find_longest(now_us, delays_s)
        wait_us = self.opened_until_us - now_us
        if wait_us > 0:
            # the first must be here for the probe and the slow start; the others are not needed then
            if sum(self.parked.values()) < PROBES_PARKED:
                return min(choose_tier(delays_s, wait_us), self._find_longest(None, delays_s))
            tier = choose_tier(delays_s, wait_us, up_from=PARK_UP_FROM)
            return min(tier if waited_in is None else max(tier, waited_in + 1), longest)
        shortest = 0
        if waited_in is not None and not (self._outcomes and self._outcomes[-1]):
            shortest = self.choose_longer_tier(now_us, delays_s, waited_in)
        us_per_item = jam.us_per_item or max(self._taken_us / self.limit, UNKNOWN_US_PER_ITEM)
        # one that succeeded last and has a slow moment, perhaps of this machine, goes on at its own speed
        if self._failing_from_us is not None or (not self._outcomes and self.is_slow(now_us)):
            us_per_item = max(us_per_item, jam.us_per_turn)
        if now_us < self._drained_until_us:
            us_per_item = min(us_per_item, self._drained_us_per_item)
        if self._policy.rate_per_s is not None:
            us_per_item = max(us_per_item, SECOND_US / self._policy.rate_per_s)
        ahead = jam.waiting
        for index in range(longest):
            ahead += self.parked[index]
            if ahead * us_per_item < 2 * delays_s[index] * SECOND_US and index >= shortest:
                return index
        return longest

    def choose_longer_tier(self, now_us: int, delays_s: Sequence[int], waited_in: int) -> int:
        """Choose the next longer tier than `waited_in`, as far as the endpoint's failing allows."""
        return min(waited_in + 1, self._find_longest(now_us, delays_s))

    def _find_longest(self, now_us: int | None, delays_s: Sequence[int]) -> int:
        """The longest tier to park in. `now_us` None: however long the endpoint has failed."""
        longest_s: float = self._policy.park_max_s
        if now_us is not None and self._failing_from_us is not None:
            failed_s = (now_us - self._failing_from_us) / SECOND_US
            longest_s = max(longest_s, min(2 * failed_s, self._policy.park_failing_max_s))
        return max(0, bisect_right(delays_s, longest_s) - 1)

    def _is_failing(self) -> bool:
        """Were most of the last outcomes failures, or all that there were?"""
        outcomes, policy = self._outcomes, self._policy
        failures = outcomes.count(False)
        if failures == len(outcomes) and failures >= policy.first_failures:
            return True
        return len(outcomes) == policy.window and failures >= policy.window_failures

    def _smooth(self, taken_us: int) -> None:
        self._taken_us += 0.2 * (taken_us - self._taken_us)


def make_bucket(rate_per_s: float | None, *, tokens: float) -> TokenBucket | None:
    """The bucket of an endpoint's rate: a second's worth of requests may start at once."""
    return None if rate_per_s is None else TokenBucket(rate_per_s=rate_per_s, burst=rate_per_s, tokens=tokens)
