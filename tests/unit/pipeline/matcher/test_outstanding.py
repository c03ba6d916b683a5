"""No application fills the deliveries topic for others; what is settled is forgotten, the oldest first."""

from collections import Counter, deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.matcher.outstanding import ALWAYS, UNIT_BYTES, Outstanding

BOUND = 1000


def fill(outstanding: Outstanding, application_id: str, count: int, *, size_bytes: int = 100) -> int:
    """Offer deliveries; how many of them were taken."""
    return sum(outstanding.take(application_id, size_bytes) for _ in range(count))


def test_an_application_alone_has_half_and_the_next_ones_have_equal_shares() -> None:
    outstanding = Outstanding(bound_min=BOUND)

    assert BOUND // 2 == fill(outstanding, "first", 10 * BOUND)
    assert BOUND // 4 == fill(outstanding, "second", 10 * BOUND)


def test_an_application_with_little_has_its_deliveries_there_whatever_others_have() -> None:
    outstanding = Outstanding(bound_min=BOUND)
    for number in range(50):
        fill(outstanding, f"flood {number}", BOUND)

    assert ALWAYS == fill(outstanding, "small", 2 * ALWAYS)


def test_large_payloads_count_as_several() -> None:
    outstanding = Outstanding(bound_min=BOUND)

    assert BOUND // 2 // 5 == fill(outstanding, "large", BOUND, size_bytes=4 * UNIT_BYTES)


def test_what_is_settled_makes_room_for_what_was_written_first() -> None:
    outstanding = Outstanding(bound_min=BOUND)
    fill(outstanding, "first", 300)
    fill(outstanding, "second", 150)

    outstanding.settle(outstanding.taken, 200)

    assert (50, 150) == (outstanding.weigh("first"), outstanding.weigh("second"))


def test_what_is_written_during_a_look_is_not_in_its_answer() -> None:
    outstanding = Outstanding(bound_min=BOUND)
    fill(outstanding, "before", 100)

    taken = outstanding.taken
    fill(outstanding, "meanwhile", 70)
    outstanding.settle(taken, 30)

    assert (30, 70) == (outstanding.weigh("before"), outstanding.weigh("meanwhile"))


def test_more_may_be_there_where_more_is_settled_a_second() -> None:
    outstanding = Outstanding(bound_min=BOUND)

    outstanding.adapt(5000.0)

    assert 5000 == fill(outstanding, "first", 20_000)


def test_it_is_said_when_to_look() -> None:
    said: list[bool] = []
    outstanding = Outstanding(bound_min=BOUND, on_many=lambda: said.append(True))

    fill(outstanding, "first", BOUND // 4)
    assert (False, []) == (outstanding.are_many, said)

    fill(outstanding, "first", 1)
    assert (True, [True]) == (outstanding.are_many, said)


class Written(RuleBasedStateMachine):
    """Any order of writes and looks. The model: what lies in the topic, the first one first."""

    def __init__(self) -> None:
        super().__init__()
        self.outstanding = Outstanding(bound_min=BOUND)
        self.topic: deque[str] = deque()

    @rule(application=st.integers(0, 5), count=st.integers(1, 400))
    def write(self, application: int, count: int) -> None:
        taken = fill(self.outstanding, str(application), count)
        self.topic.extend([str(application)] * taken)

    @rule(share=st.floats(0, 1), meanwhile=st.integers(0, 50))
    def look(self, share: float, meanwhile: int) -> None:
        taken = self.outstanding.taken
        unsettled = int(len(self.topic) * share)
        while len(self.topic) > unsettled:
            self.topic.popleft()
        self.topic.extend(["meanwhile"] * fill(self.outstanding, "meanwhile", meanwhile))
        self.outstanding.settle(taken, unsettled)

    @invariant()
    def counts_what_is_there(self) -> None:
        counts = Counter(self.topic)
        assert len(self.topic) == len(self.outstanding)
        assert counts == {each: self.outstanding.weigh(each) for each in counts}

    @invariant()
    def leaves_room(self) -> None:
        # what was taken when more was free may be more than what is free by now
        most = max(Counter(self.topic).values(), default=0)
        assert most <= BOUND // 2
        assert len(self.topic) <= BOUND + ALWAYS * len(set(self.topic))


TestWritten = Written.TestCase
