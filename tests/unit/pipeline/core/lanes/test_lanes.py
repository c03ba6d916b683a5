import tracemalloc
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.core.lanes.budget import Standing
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.lanes.lane import BACKLOG_SHARE, NO_JAM, SPEED_ITEMS_MIN, SPEED_WINDOW_US, Jam, Rank
from pipeline.core.lanes.lanes import ORDERS, Lanes

KEYS = ("a", "b", "c", "d")
NOW_US = 1_000_000


@dataclass(slots=True)
class ScriptedGate:
    """A gate that does what it was told, and notices when it is passed without having room."""

    limit: int = 1
    open: int = 0
    closed_until_us: int = 0
    refuses: bool = False
    long_from: int = 1_000_000
    slow: bool = False
    is_unknown: bool = False
    overrun: bool = field(default=False)
    drained: list[float] = field(default_factory=list)

    def accepts(self, waiting: int, now_us: int) -> bool:
        return not self.refuses

    def is_long(self, waiting: int) -> bool:
        return waiting >= self.long_from

    def room(self, now_us: int) -> int:
        return 0 if now_us < self.closed_until_us else self.limit - self.open

    def wakes_at_us(self, now_us: int) -> int | None:
        return self.closed_until_us if now_us < self.closed_until_us else None

    def is_slow(self, now_us: int) -> bool:
        return self.slow

    def standing(self, waiting: int, now_us: int) -> Standing:
        if self.slow:
            return Standing.SLOW
        return Standing.UNKNOWN if self.is_unknown else Standing.PROVEN

    def start(self, now_us: int) -> None:
        self.overrun = self.overrun or self.room(now_us) <= 0
        self.open += 1

    def end(self, now_us: int) -> None:
        self.open -= 1

    def note_drained(self, us_per_item: float, now_us: int) -> None:
        self.drained.append(us_per_item)


def _with_slow(is_open: bool) -> Callable[[Hashable, Standing], bool]:
    return lambda _, standing: is_open or standing is not Standing.SLOW


class Work(RuleBasedStateMachine):
    """Lanes used as a runtime does: offer, take, end and refresh, evict what is behind a closed gate, drop."""

    batch_max = 1

    def __init__(self) -> None:
        super().__init__()
        self.gates = {key: ScriptedGate() for key in KEYS}
        self.lanes: Lanes[tuple[str, int]] = Lanes(lambda key: self.gates[str(key)], batch_max=self.batch_max)
        self.now_us = NOW_US
        self.offered = 0
        self.inside: Counter[str] = Counter()
        self.given: list[tuple[str, int]] = []
        self.open: list[str] = []

    @rule(key=st.sampled_from(KEYS), rank=st.sampled_from(Rank), count=st.integers(1, 6))
    def offer(self, key: str, rank: Rank, count: int) -> None:
        for _ in range(count):
            self.offered += 1
            if self.lanes.offer(key, (key, self.offered), self.now_us, rank):
                self.inside[key] += 1

    @rule(with_slow=st.booleans(), with_parked=st.booleans())
    def take(self, with_slow: bool, with_parked: bool) -> None:
        taken = self.lanes.take(self.now_us, may_open=_with_slow(with_slow), with_parked=with_parked)
        if taken is None:
            able = [
                key
                for key, gate in self.gates.items()
                if self.lanes.length(key) and gate.room(self.now_us) > 0 and not gate.slow
            ]
            assert not able or (not with_parked and self.lanes.has_parked), "lanes that could have given something"
            return
        gate, key, items, parked = taken
        assert parked in (0, len(items))
        assert self.gates[str(key)] is gate
        assert {key} == {item[0] for item in items}
        assert 1 <= len(items) <= self.batch_max
        self.inside[str(key)] -= len(items)
        self.given += items
        self.open.append(str(key))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.gates[key].end(self.now_us)
        self.lanes.refresh(key, self.now_us)

    @rule(key=st.sampled_from(KEYS), limit=st.integers(1, 3))
    def widen(self, key: str, limit: int) -> None:
        self.gates[key].limit = max(self.gates[key].limit, limit)
        self.lanes.refresh(key, self.now_us)

    @rule(key=st.sampled_from(KEYS), for_us=st.integers(1, 1000))
    def close_for(self, key: str, for_us: int) -> None:
        # a gate opens earlier than it said only when a request of its lane ends, and then the lane is refreshed
        self.gates[key].closed_until_us = max(self.gates[key].closed_until_us, self.now_us + for_us)

    @rule(for_us=st.integers(1, 1500))
    def wait(self, for_us: int) -> None:
        self.now_us += for_us

    @rule(key=st.sampled_from(KEYS))
    def evict(self, key: str) -> None:
        items = self.lanes.evict(key)
        assert self.inside[key] == len(items)
        self.inside[key] = 0

    @rule(rest=st.integers(0, 2))
    def drop(self, rest: int) -> None:
        for key, number in self.lanes.drop(lambda item: item[1] % 3 == rest):
            assert number % 3 == rest
            self.inside[key] -= 1

    @rule()
    def rotate(self) -> None:
        self.lanes.rotate()

    @invariant()
    def nothing_is_lost_or_made(self) -> None:
        lengths = {key: length for key in self.gates if (length := self.lanes.length(key))}
        assert +self.inside == lengths
        assert sum(lengths.values()) == self.lanes.waiting
        assert len(lengths) == len(self.lanes)
        assert len(set(self.given)) == len(self.given)

    @invariant()
    def no_gate_is_overrun(self) -> None:
        assert not any(gate.overrun for gate in self.gates.values())

    def teardown(self) -> None:
        """Everything that waits comes out once gates are open, whatever happened before."""
        self.now_us += 2000
        while self.open:
            key = self.open.pop()
            self.gates[key].end(self.now_us)
            self.lanes.refresh(key, self.now_us)
        for _ in range(self.lanes.waiting):
            taken = self.lanes.take(self.now_us)
            if taken is None:
                break
            taken[0].end(self.now_us)
            self.lanes.refresh(taken[1], self.now_us)

        assert 0 == self.lanes.waiting


class BatchedWork(Work):
    batch_max = 3


Work.TestCase.settings = BatchedWork.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
test_counts_conserve_and_gates_hold = Work.TestCase
test_counts_conserve_and_gates_hold.__doc__ = "Whatever is offered, taken, ended, evicted and dropped, in any order."
test_counts_conserve_and_gates_hold_in_batches = BatchedWork.TestCase
test_counts_conserve_and_gates_hold_in_batches.__doc__ = "The same when several items are given out at a time."


@given(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 30), min_size=2), st.booleans())
def test_turns_go_round(lengths: dict[str, int], slow: bool) -> None:
    """No lane is served twice before each that has work was served once, however long they are; slow ones alike."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(limit=1000, slow=slow))
    for key, length in lengths.items():
        for number in range(length):
            lanes.offer(key, number, NOW_US)
    left = dict(lengths)
    while left:
        turn = [taken[1] for _ in range(len(left)) if (taken := lanes.take(NOW_US))]

        assert sorted(left) == sorted(str(key) for key in turn)
        left = {key: length - 1 for key, length in left.items() if length > 1}


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([Rank.RETRY, Rank.PARKED]))
def test_backlog_and_fresh_work_share_a_lane(fresh: int, backlog: int, rank: Rank) -> None:
    """Fresh work goes first, every fourth turn is the backlog's; each keeps its order, and neither starves."""
    lanes: Lanes[tuple[bool, int]] = Lanes(lambda _: ScriptedGate(limit=1000))
    for number in range(backlog):
        lanes.offer("a", (True, number), NOW_US, rank)
    for number in range(fresh):
        lanes.offer("a", (False, number), NOW_US)
    given_out = [taken[2][0] for _ in range(fresh + backlog) if (taken := lanes.take(NOW_US))]
    both = given_out[: min(fresh, backlog)]

    assert list(range(backlog)) == [number for is_backlog, number in given_out if is_backlog]
    assert list(range(fresh)) == [number for is_backlog, number in given_out if not is_backlog]
    assert [turn % BACKLOG_SHARE == 0 for turn in range(1, len(both) + 1)] == [is_backlog for is_backlog, _ in both]


def test_parked_work_goes_behind_retries() -> None:
    """Every fourth of the backlog's turns is for parked work."""
    lanes: Lanes[Rank] = Lanes(lambda _: ScriptedGate(limit=1000))
    for rank in Rank:
        for _ in range(30):
            lanes.offer("a", rank, NOW_US, rank)
    given_out = [taken[2][0] for _ in range(32) if (taken := lanes.take(NOW_US))]

    assert {Rank.FRESH: 24, Rank.RETRY: 6, Rank.PARKED: 2} == Counter(given_out)
    assert [15, 31] == [turn for turn, rank in enumerate(given_out) if rank is Rank.PARKED]


def test_parked_work_waits_while_it_is_to_be_passed_over() -> None:
    """Lanes with nothing else are passed over, until they get other work or may go on. A count tells what was given."""
    lanes: Lanes[str] = Lanes(lambda _: ScriptedGate(limit=1000))
    lanes.offer("a", "parked", NOW_US, Rank.PARKED)
    lanes.offer("b", "fresh", NOW_US)
    first = [lanes.take(NOW_US, with_parked=False) for _ in range(2)]
    assert lanes.has_parked
    lanes.offer("a", "retry", NOW_US, Rank.RETRY)
    assert not lanes.has_parked
    second = [lanes.take(NOW_US, with_parked=False) for _ in range(2)]
    third = [lanes.take(NOW_US) for _ in range(2)]

    assert [("b", ["fresh"], 0), None] == [each and each[1:] for each in first]
    assert [("a", ["retry"], 0), None] == [each and each[1:] for each in second]
    assert [("a", ["parked"], 1), None] == [each and each[1:] for each in third]


def test_a_lane_knows_its_speed() -> None:
    """Per item while there was work; what is long ago counts less and less."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(limit=100_000))
    assert NO_JAM == lanes.describe_jam("a", NOW_US)
    for number in range(5_000):
        lanes.offer("a", number, NOW_US)
    assert Jam(5_000, 0.0) == lanes.describe_jam("a", NOW_US)

    def take(items: int, us_each: int, now_us: int) -> int:
        for _ in range(items):
            now_us += us_each
            lanes.take(now_us)
            lanes.describe_jam("a", now_us)
        return now_us

    now_us = take(SPEED_ITEMS_MIN, 50_000, NOW_US)
    waiting, us_per_item, _ = lanes.describe_jam("a", now_us)
    assert 5_000 - SPEED_ITEMS_MIN == waiting
    assert 50_000 == us_per_item
    later = take(4_000, SPEED_WINDOW_US // 1000, now_us)

    assert 10_000 <= lanes.describe_jam("a", later).us_per_item < 10_200


def test_a_gate_hears_how_fast_its_lane_was_emptied() -> None:
    """The gate hears it once the lane is empty, unless so few were in it that this says nothing."""
    gate = ScriptedGate(limit=1000)
    lanes: Lanes[int] = Lanes(lambda _: gate)
    for count in (SPEED_ITEMS_MIN - 1, SPEED_ITEMS_MIN):
        for number in range(count):
            lanes.offer("a", number, NOW_US)
        for number in range(count):
            lanes.take(NOW_US + 300 * (number + 1))

    assert [300.0] == gate.drained


def test_slow_lanes_wait_when_their_share_is_used_up() -> None:
    """Lanes of slow endpoints are passed over while others may go on, and come back to their turn."""
    slow, quick = ScriptedGate(limit=10, slow=True), ScriptedGate(limit=10)
    lanes: Lanes[int] = Lanes(lambda key: slow if key == "slow" else quick)
    for number in range(2):
        lanes.offer("slow", number, NOW_US)
        lanes.offer("quick", number, NOW_US)
    taken = [lanes.take(NOW_US, may_open=_with_slow(with_slow)) for with_slow in (False, False, False, True)]

    assert ["quick", "quick", None, "slow"] == [each[1] if each else None for each in taken]


def test_a_lane_that_is_much_longer_than_the_others_is_full() -> None:
    """The lane's owner waits elsewhere; lanes that are all as long are not full, since parking would free nothing."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(long_from=5, limit=0))
    for key in ("a", "b", "c"):
        assert all(lanes.offer(key, number, NOW_US) for number in range(5))
    for key in ("b", "c"):
        assert lanes.offer(key, 5, NOW_US)
    accepted = 0
    while lanes.offer("a", 0, NOW_US):
        accepted += 1
        assert accepted < 1000, "a lane without a bound"

    assert 8 == accepted  # more than twice the six of the others
    assert lanes.offer("b", 6, NOW_US)


def test_a_long_lane_of_a_slow_endpoint_is_full() -> None:
    """The lane is full even when it is alone: what waits behind slow requests would fill the process."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(long_from=5, slow=True, limit=0))

    assert [True] * 5 + [False] == [lanes.offer("a", number, NOW_US) for number in range(6)]


def test_a_lone_lane_is_not_full() -> None:
    """A lane of a quick endpoint takes every record if no other lane competes."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(long_from=5, limit=0))

    assert all(lanes.offer("a", number, NOW_US) for number in range(1000))


def test_a_gate_that_refuses_is_obeyed() -> None:
    """A record that the gate does not accept is not in the lane, and makes no lane."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(refuses=True))

    assert not lanes.offer("a", 0, NOW_US)
    assert 0 == len(lanes) == lanes.waiting


def test_a_gate_that_opens_by_time_is_looked_at_then() -> None:
    """A lane has its turn when its gate opens, without a completion."""
    gate = ScriptedGate(closed_until_us=NOW_US + 700)
    lanes: Lanes[int] = Lanes(lambda _: gate)
    lanes.offer("a", 7, NOW_US)

    assert lanes.take(NOW_US) is None
    assert lanes.take(NOW_US + 699) is None
    assert (gate, "a", [7], 0) == lanes.take(NOW_US + 700)


def test_what_is_put_back_comes_first() -> None:
    """An item that was given out and could not be done goes before all that came after it, also in a full lane."""
    gate = ScriptedGate(limit=2)
    lanes: Lanes[int] = Lanes(lambda _: gate, batch_max=2)
    for number in range(4):
        lanes.offer("a", number, NOW_US)
    taken = lanes.take(NOW_US)
    assert taken is not None
    gate.end(NOW_US)
    gate.refuses = True
    for number in reversed(taken.items):
        lanes.put_back("a", number, NOW_US)

    assert 4 == lanes.waiting
    order = []
    while (taken := lanes.take(NOW_US)) is not None:
        gate.end(NOW_US)
        order += taken.items
        lanes.refresh("a", NOW_US)
    assert [0, 1, 2, 3] == order


def test_what_is_put_back_finds_its_lane_again() -> None:
    """The lane was empty, and so had been forgotten."""
    gate = ScriptedGate()
    lanes: Lanes[int] = Lanes(lambda _: gate)
    lanes.offer("a", 1, NOW_US)
    lanes.take(NOW_US)
    gate.end(NOW_US)
    lanes.put_back("a", 1, NOW_US)

    taken = lanes.take(NOW_US)
    assert taken is not None
    assert [1] == taken.items


def test_parked_work_of_slow_lanes_does_not_use_up_the_pace() -> None:
    """Places bound slow lanes; counted, they would keep back what was parked of quick ones."""
    slow = ScriptedGate(slow=True)
    lanes: Lanes[int] = Lanes(lambda _: slow)
    lanes.offer("a", 1, NOW_US, Rank.PARKED)

    assert (slow, "a", [1], 0) == lanes.take(NOW_US, with_parked=False)


def test_parked_work_beside_other_work_does_not_use_up_the_pace() -> None:
    """Counted, a busy lane that gives out what was parked now and then would keep back that of all others."""
    lanes: Lanes[int] = Lanes(lambda _: FixedGate(100), batch_max=2)
    for number in range(8):
        lanes.offer("busy", number, NOW_US, Rank.FRESH if number < 4 else Rank.PARKED)
    counted = []
    while (taken := lanes.take(NOW_US)) is not None:
        counted.append((len(taken.items), taken.parked))

    assert [(2, 0), (2, 0), (2, 0), (2, 2)] == counted


@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
@pytest.mark.parametrize("begun", [0, 1])
def test_thousands_of_parked_items_take_turns_with_one_of_an_endpoint_that_comes_back(begun: int, at_once: int) -> None:
    """The last request to it failed, that of the other lane succeeded: the pace lets some of both go, again and again.

    `begun`: looks before. `at_once`: items that the pace lets go together, before a look that finds nothing.
    """
    gates = {"proven": ScriptedGate(limit=1000), "back": ScriptedGate(limit=1000, is_unknown=True)}
    lanes: Lanes[int] = Lanes(lambda key: gates[str(key)], find_group=lambda key: key)
    for _ in range(begun):
        lanes.take(NOW_US)
    for number in range(100):
        lanes.offer("proven", number, NOW_US, Rank.PARKED)
    lanes.offer("back", 0, NOW_US, Rank.PARKED)
    given: list[Hashable] = []
    for _ in range(len(ORDERS)):
        for _ in range(at_once):
            taken = lanes.take(NOW_US)
            assert taken is not None
            given.append(taken.key)
        assert lanes.take(NOW_US, with_parked=False) is None

    assert 1 == given.count("back")


def test_a_lane_that_became_another_kind_is_found_at_once() -> None:
    """A lane waits among slow ones, or those with fresh work, and is neither: that is noticed in the same look."""
    gates = {"slow": ScriptedGate(), "parked": ScriptedGate()}
    lanes: Lanes[Rank] = Lanes(lambda key: gates[str(key)])
    for _ in range(2 * len(ORDERS)):
        gates["slow"].slow = True
        lanes.offer("slow", Rank.FRESH, NOW_US)
        gates["slow"].slow = False
        taken = lanes.take(NOW_US)
        assert taken is not None
        assert "slow" == taken.key
        gates["slow"].end(NOW_US)

        lanes.offer("parked", Rank.FRESH, NOW_US)
        lanes.offer("parked", Rank.PARKED, NOW_US, Rank.PARKED)
        lanes.drop(lambda rank: rank is Rank.FRESH)
        taken = lanes.take(NOW_US)
        assert taken is not None
        assert [Rank.PARKED] == taken.items
        gates["parked"].end(NOW_US)


def test_a_standing_without_a_place_is_not_searched() -> None:
    """The search does not depend on how many groups wait."""
    quick = ScriptedGate()
    asked: list[Hashable] = []
    lanes: Lanes[int] = Lanes(lambda _: quick, find_group=lambda key: key)
    lanes.offer("a", 1, NOW_US)

    def may_open(group: Hashable, _: Standing) -> bool:
        asked.append(group)
        return True

    assert lanes.take(NOW_US, may_open=may_open, has_place=lambda _: False) is None
    assert [] == asked
    assert lanes.take(NOW_US, may_open=may_open) is not None


def test_a_long_lane_costs_the_same_beside_many() -> None:
    """Comparing a lane with the others copies nothing: each item for a long lane asks, and thousands may come."""
    lanes: Lanes[int] = Lanes(lambda _: ScriptedGate(long_from=1, limit=0))
    for key in range(2000):
        lanes.offer(key, 0, NOW_US)
    lanes.rotate()
    for key in range(1000, 3000):
        lanes.offer(key, 0, NOW_US)
    lanes.offer(0, 0, NOW_US)
    tracemalloc.start()
    try:
        assert lanes.offer(0, 0, NOW_US)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 10_000
