from collections import Counter, deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.core.lanes.budget import Account, Budget, Standing

RECORDS_MAX, BYTES_MAX, PLACES_MAX = 80, 8_000, 16
SIZE_MAX = 700  # more than an equal share of a few
# what lanes of this standing may hold together: records, bytes, places
SHARES = {Standing.SLOW: (20, 2_000, 8), Standing.UNKNOWN: (20, 2_000, 4)}
SIZES = st.integers(0, SIZE_MAX)


@dataclass
class Lane:
    """The model's knowledge of a lane: sizes of its records, and how many of them are open."""

    key: int
    application: int
    standing: Standing
    sizes: list[int]
    open: int = 0


class Hogs(RuleBasedStateMachine):
    """Any number of slow and unknown lanes that take whatever they get, in any order; some end, none has to."""

    standings: tuple[Standing, ...] = tuple(SHARES)

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(records_max=RECORDS_MAX, bytes_max=BYTES_MAX, places_max=PLACES_MAX)
        self.lanes: list[Lane] = []
        # otherwise the first application would be alone, and so might fill the process
        self.meet_others()

    def meet_others(self) -> None:
        for other in ("healthy", "newcomer"):
            self.budget.find(other, other, Standing.PROVEN)

    def account(self, lane: Lane) -> Account:
        return self.budget.find(lane.key, lane.application, lane.standing)

    @rule(application=st.integers(0, 40), data=st.data())
    def come(self, application: int, data: st.DataObject) -> None:
        standing = data.draw(st.sampled_from(self.standings))
        self.lanes.append(Lane(len(self.lanes), application, standing, []))

    @precondition(lambda self: self.lanes)
    @rule(data=st.data(), size=SIZES, times=st.integers(1, 30))
    def offer(self, data: st.DataObject, size: int, times: int) -> None:
        lane = data.draw(st.sampled_from(self.lanes))
        for _ in range(times):
            account = self.account(lane)
            if self.budget.admits(account):
                self.budget.take(account, size)
                lane.sizes.append(size)

    @precondition(lambda self: any(lane.open < len(lane.sizes) for lane in self.lanes))
    @rule(data=st.data(), times=st.integers(1, 10))
    def start(self, data: st.DataObject, times: int) -> None:
        lane = data.draw(st.sampled_from([lane for lane in self.lanes if lane.open < len(lane.sizes)]))
        for _ in range(min(times, len(lane.sizes) - lane.open)):
            account = self.account(lane)
            if self.budget.may_open(account.application, lane.standing):
                self.budget.open(account)
                lane.open += 1

    @precondition(lambda self: any(lane.open for lane in self.lanes))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from([lane for lane in self.lanes if lane.open])))

    @rule()
    def rotate(self) -> None:
        self.budget.observe()
        self.budget.rotate()
        self.meet_others()

    def finish(self, lane: Lane) -> None:
        account = self.account(lane)
        self.budget.close(account)
        lane.open -= 1
        self.budget.give_back(account, lane.sizes.pop())

    @invariant()
    def they_take_no_more_than_their_share(self) -> None:
        """Each kind has a part of its own; one record may go beyond it."""
        total = self.budget.total
        for standing, (records_max, bytes_max, places_max) in SHARES.items():
            lanes = [lane for lane in self.lanes if lane.standing is standing]

            assert sum(len(lane.sizes) for lane in lanes) == total.records.beside(standing) <= records_max
            assert sum(sum(lane.sizes) for lane in lanes) == total.size_bytes.beside(standing) <= bytes_max + SIZE_MAX
            assert sum(lane.open for lane in lanes) == total.places.beside(standing) <= places_max

    @invariant()
    def a_proven_lane_is_always_admitted(self) -> None:
        newcomer = self.budget.find("newcomer", "newcomer", Standing.PROVEN)

        assert self.budget.admits(newcomer)
        assert self.budget.may_open(newcomer.application, Standing.PROVEN)

    def teardown(self) -> None:
        """All that was taken is given back in the end."""
        for lane in self.lanes:
            while lane.sizes:
                account = self.account(lane)
                if lane.open:
                    self.finish(lane)
                else:
                    self.budget.give_back(account, lane.sizes.pop())

        assert 0 == len(self.budget) == self.budget.records
        assert 0 == self.budget.total.size_bytes.all
        assert 0 == self.budget.total.places.all


class FallenIll(Hogs):
    """Lanes that were proven when they took records, and are slow now: records that wait in them are parked."""

    standings = tuple(Standing)

    @precondition(lambda self: self.lanes)
    @rule(data=st.data())
    def fall_ill(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.lanes))
        lane.standing = Standing.SLOW

    @invariant()
    def they_take_no_more_than_their_share(self) -> None:
        for lane in self.lanes:
            account = self.account(lane)
            while lane.open < len(lane.sizes) and self.budget.is_over(account):
                self.budget.give_back(account, lane.sizes.pop())
        held = sum(len(lane.sizes) for lane in self.lanes)

        assert held == self.budget.records <= RECORDS_MAX

    @invariant()
    def a_proven_lane_is_always_admitted(self) -> None:
        """A proven lane is admitted unless the others are proven too, or cannot give back what they have open."""
        open_records = sum(lane.open for lane in self.lanes)
        proven = sum(len(lane.sizes) for lane in self.lanes if lane.standing is Standing.PROVEN)
        if proven or open_records or sum(sum(lane.sizes) for lane in self.lanes) > BYTES_MAX / 2:
            return
        newcomer = self.budget.find("newcomer", "newcomer", Standing.PROVEN)

        assert self.budget.admits(newcomer) or len(self.lanes) > RECORDS_MAX / 2


Hogs.TestCase.settings = FallenIll.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_no_set_of_lanes_takes_more_than_its_share = Hogs.TestCase
test_no_set_of_lanes_takes_more_than_its_share.__doc__ = "Slow and unknown lanes, any number, sizes and order."
test_lanes_that_fall_ill_give_back = FallenIll.TestCase
test_lanes_that_fall_ill_give_back.__doc__ = "Proven lanes that turn slow while they hold everything."


@given(
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60), SIZES), min_size=1, max_size=30),
    standing=st.sampled_from(Standing),
)
@settings(max_examples=60, deadline=None)
def test_nobody_starves(lengths: list[tuple[int, int, int]], standing: Standing) -> None:
    """All work that waits is admitted at last, slow or large, when what is parked is offered again and again."""
    budget = Budget(records_max=RECORDS_MAX, bytes_max=BYTES_MAX, places_max=PLACES_MAX)
    parked = deque(
        (key, application, size) for key, (application, count, size) in enumerate(lengths) for _ in range(count)
    )
    held: deque[tuple[int, int, int]] = deque()
    left = Counter({key: count for key, (_, count, _) in enumerate(lengths)})
    rounds = 0
    while parked or held:
        for _ in range(len(parked)):
            key, application, size = parked.popleft()
            account = budget.find(key, application, standing)
            if budget.admits(account):
                budget.take(account, size)
                held.append((key, application, size))
            else:
                parked.append((key, application, size))
        assert held, "nothing goes on"
        for _ in range(max(1, len(held) // 2)):
            key, application, size = held.popleft()
            budget.give_back(budget.find(key, application, standing), size)
            left[key] -= 1
        rounds += 1

    assert not +left
    assert rounds <= sum(count for _, count, _ in lengths)


def test_shares_shrink_as_more_come() -> None:
    """One application gets a third of what slow lanes may hold in one lane; each next one less, and something."""
    budget = Budget(records_max=4_000, bytes_max=10**9, places_max=1)
    taken = []
    for application in range(4):
        account = budget.find(application, application, Standing.SLOW)
        while budget.admits(account):
            budget.take(account, 1)
        taken.append(account.records)

    assert 334 == taken[0]
    assert sorted(taken, reverse=True) == taken
    assert all(taken)
    assert sum(taken) <= 1_000


def test_a_record_larger_than_any_share_is_admitted() -> None:
    """An empty lane admits it: it would wait for ever otherwise. Records behind it wait."""
    budget = Budget(records_max=100, bytes_max=1_000, places_max=1)
    account = budget.find("a", "a", Standing.SLOW)

    assert budget.admits(account)
    budget.take(account, 5_000)
    assert not budget.admits(account)
    assert not budget.admits(budget.find("b", "b", Standing.SLOW))
    budget.give_back(account, 5_000)
    assert budget.admits(budget.find("b", "b", Standing.SLOW))


def test_an_application_alone_may_hold_everything() -> None:
    """The process is not at its limit until another application comes that holds less, unless the lanes are slow."""
    budget = Budget(records_max=100, bytes_max=10_000, places_max=1)
    slow = budget.find("slow", "a", Standing.SLOW)
    while budget.admits(slow):
        budget.take(slow, 1)
    assert 9 == slow.records
    for _ in range(9):
        budget.give_back(slow, 1)
    lone = budget.find("a", "a", Standing.PROVEN)
    while budget.admits(lone):
        budget.take(lone, 1)
    assert 100 == lone.records
    budget.give_back(lone, 1)
    assert budget.admits(lone)

    budget.find("b", "b", Standing.PROVEN)
    assert not budget.admits(lone)
    for _ in range(3):  # "b" has not come again
        budget.observe()
        budget.rotate()
    assert budget.admits(lone)


def test_applications_alike_may_hold_everything() -> None:
    """Proven lanes of applications that all hold much mean that the process is at its limit."""
    budget = Budget(records_max=100, bytes_max=10_000, places_max=1)
    accounts = [budget.find(each, each, Standing.PROVEN) for each in "ab"]
    for account in accounts:
        for _ in range(20):
            budget.take(account, 1)
    budget.observe()
    budget.observe()
    while any(budget.admits(account) for account in accounts):
        for account in accounts:
            budget.take(account, 1)

    assert 100 == budget.records


def test_places_go_to_applications_that_have_none() -> None:
    """Hundreds of hanging applications, one after the other: from half of the places on, one each."""
    budget = Budget(records_max=10_000, bytes_max=10**9, places_max=400)
    opened = Counter[int]()
    for application in range(200):
        account = budget.find(application, application, Standing.UNKNOWN)
        for _ in range(8):
            budget.take(account, 1)
            if budget.may_open(account.application, Standing.UNKNOWN):
                budget.open(account)
                opened[application] += 1

    assert 100 == opened.total()
    assert all(opened[application] for application in range(50))
