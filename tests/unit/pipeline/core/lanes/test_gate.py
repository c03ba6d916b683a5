import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lanes.gate import DRAINED_FOR_US, PROBES_PARKED, EndpointGate, GatePolicy
from pipeline.core.lanes.lane import NO_JAM, Jam
from pipeline.core.units import SECOND_US
from pipeline.topics import RETRY_TIERS_S

POLICY = GatePolicy(concurrency=4, concurrency_max=10)
START_US = 1_000 * SECOND_US


def fill(gate: EndpointGate, now_us: int) -> int:
    """Start as many as there is room for; how many."""
    started = 0
    while gate.room(now_us) > 0:
        gate.start(now_us)
        started += 1
    return started


def end(gate: EndpointGate, now_us: int, *, ok: bool, started_at_us: int | None = None) -> None:
    """One request ends; a failure is a fault and a sign of overload."""
    started = now_us - 1000 if started_at_us is None else started_at_us
    if ok:
        gate.succeed(now_us, started_at_us=started)
    else:
        gate.fail(now_us, started_at_us=started, is_overload=True, is_fault=True)
    gate.end(now_us)


def break_open(gate: EndpointGate, now_us: int) -> int:
    """Fail until the breaker opens; the time it did."""
    for _ in range(100):
        if gate.opened_until_us:
            return now_us
        now_us += 1000
        gate.start(now_us)
        end(gate, now_us, ok=False)
    raise AssertionError("it never opened")


def test_starts_with_the_given_concurrency() -> None:
    """An endpoint without a history may have as many requests at once as the setting says."""
    assert 4 == fill(EndpointGate(POLICY), START_US)


def test_grows_while_it_is_what_holds_back() -> None:
    """A window of successes at full use adds one, up to the cap; an endpoint that is not in full use stays as it is."""
    busy, idle = EndpointGate(POLICY), EndpointGate(POLICY)
    now_us = START_US
    for _ in range(1000):
        now_us += 1000
        fill(busy, now_us)
        end(busy, now_us, ok=True)
        idle.start(now_us)
        end(idle, now_us, ok=True)

    assert 10 == busy.limit
    assert 4 == idle.limit


def test_overload_halves_once_for_what_was_on_its_way() -> None:
    """Requests that were open together and fail together cut the limit once, not each; the floor is one."""
    gate = EndpointGate(GatePolicy(concurrency=8, concurrency_max=10, window=1000))
    now_us = START_US
    started = fill(gate, now_us)
    for number in range(started):
        end(gate, now_us + 1000 + number, ok=False, started_at_us=now_us)

    assert 8 == started
    assert 4 == gate.limit
    for number in range(10):
        now_us += SECOND_US
        gate.start(now_us)
        end(gate, now_us + number + 1, ok=False, started_at_us=now_us)

    assert 1 == gate.limit


@pytest.mark.parametrize(
    ("before", "failures"),
    [
        ([], 12),  # nothing else is known of it
        ([True], 19),  # the last twenty outcomes are looked at
        ([True] * 20, 16),
        ([True, False, True, False], 16),
    ],
)
def test_an_endpoint_without_a_success_is_given_up_sooner(before: list[bool], failures: int) -> None:
    """Failures until the breaker opens, after these outcomes."""
    gate = EndpointGate(POLICY)
    for number, ok in enumerate(before):
        gate.start(START_US + number)
        end(gate, START_US + number, ok=ok)
    now_us = break_open(gate, START_US + SECOND_US)

    assert failures == (now_us - START_US - SECOND_US) // 1000


def test_the_breaker_opens_probes_and_closes_slowly() -> None:
    """Most outcomes failures: nothing goes out; then one probe at a time; after its success the limit starts at one."""
    gate = EndpointGate(POLICY)
    now_us = break_open(gate, START_US)
    opened_until_us = gate.opened_until_us

    assert 5 * SECOND_US == opened_until_us - now_us
    assert 0 == gate.room(now_us)
    assert not gate.accepts(0, now_us)
    assert opened_until_us == gate.wakes_at_us(now_us)
    now_us = opened_until_us
    assert 1 == fill(gate, now_us)
    end(gate, now_us + 1000, ok=False, started_at_us=now_us)
    assert 10 * SECOND_US == gate.opened_until_us - now_us - 1000
    now_us = gate.opened_until_us
    assert 1 == fill(gate, now_us)
    end(gate, now_us + 1000, ok=True, started_at_us=now_us)
    assert (0, 1) == (gate.opened_until_us, gate.limit)
    limits = []
    for _ in range(5):
        now_us += 10_000
        fill(gate, now_us)
        end(gate, now_us, ok=True)
        limits.append(gate.limit)
    assert [2, 3, 4, 4, 4] == limits


def test_not_willing_is_not_unable() -> None:
    """Answers such as 404 neither open the breaker nor cut the limit."""
    gate = EndpointGate(POLICY)
    now_us = START_US
    for _ in range(200):
        now_us += 1000
        gate.start(now_us)
        gate.fail(now_us, started_at_us=now_us - 500, is_overload=False, is_fault=False)
        gate.end(now_us)

    assert (0, 4) == (gate.opened_until_us, gate.limit)


@given(st.floats(0.5, 200), st.lists(st.integers(0, 400_000), min_size=1, max_size=200))
def test_the_rate_holds(rate_per_s: float, steps_us: list[int]) -> None:
    """A gate starts a second's worth at once and the rate from then on, and no more, in any pattern of time."""
    gate = EndpointGate(GatePolicy(concurrency=100, concurrency_max=100, rate_per_s=rate_per_s))
    now_us = START_US
    started = 0
    for step_us in steps_us:
        now_us += step_us
        count = fill(gate, now_us)
        started += count
        for _ in range(count):
            gate.succeed(now_us, started_at_us=now_us)
            gate.end(now_us)

    burst = max(1.0, rate_per_s)
    assert started <= burst + rate_per_s * (now_us - START_US) / SECOND_US + 1e-6


def test_new_bounds_are_adopted() -> None:
    """An owner who lowers the concurrency is obeyed at once."""
    gate = EndpointGate(POLICY)
    gate.adopt(GatePolicy(concurrency=2, concurrency_max=2))

    assert 2 == fill(gate, START_US)


@given(st.lists(st.tuples(st.sampled_from(["start", "ok", "fault", "refused"]), st.integers(0, 20 * SECOND_US))))
def test_never_beyond_its_bounds(steps: list[tuple[str, int]]) -> None:
    """The limit is at least one, at most the cap, and never stuck for good, in any order of outcomes."""
    gate = EndpointGate(POLICY)
    now_us = START_US
    for step, wait_us in steps:
        now_us += wait_us
        if step == "start":
            if gate.room(now_us) > 0:
                gate.start(now_us)
        elif gate.open:
            if step == "ok":
                gate.succeed(now_us, started_at_us=now_us - 1000)
            else:
                is_fault = step == "fault"
                gate.fail(now_us, started_at_us=now_us - 1000, is_overload=is_fault, is_fault=is_fault)
            gate.end(now_us)
        assert 1 <= gate.limit <= 10
        assert gate.open <= 10
    for _ in range(gate.open):
        gate.end(now_us)

    assert gate.room(now_us + 400 * SECOND_US) > 0


def test_what_is_parked_comes_back_within_bounds() -> None:
    """Parked deliveries come back within bounds with a full lane, and while a probe tests the endpoint."""
    full, probing = EndpointGate(POLICY), EndpointGate(POLICY)
    break_open(probing, START_US)
    now_us = probing.opened_until_us
    for gate in (full, probing):
        gate.parked.update(dict.fromkeys(range(len(RETRY_TIERS_S)), 1000000))

    for gate, jam in ((full, Jam(500, 0.0)), (full, Jam(500, 1e9)), (probing, NO_JAM)):
        assert POLICY.park_max_s == RETRY_TIERS_S[gate.choose_tier(jam, now_us, RETRY_TIERS_S)]


def test_of_what_waits_for_the_breaker_the_first_come_back_for_the_probe() -> None:
    """The others in one trip rather than in several."""
    gate = EndpointGate(POLICY)
    break_open(gate, START_US)
    now_us = gate.opened_until_us - 5 * SECOND_US
    chosen = []
    for _ in range(PROBES_PARKED + 5):
        chosen.append(gate.choose_tier(NO_JAM, now_us, RETRY_TIERS_S))
        gate.parked[chosen[-1]] += 1

    assert [0] * PROBES_PARKED + [1] * 5 == chosen


def test_what_waits_for_the_breaker_comes_back_more_and_more_rarely() -> None:
    """The others stay away longer each time, up to the longest tier, however soon the next probe is."""
    gate = EndpointGate(POLICY)
    break_open(gate, START_US)
    gate.parked[0] = PROBES_PARKED
    now_us = gate.opened_until_us - SECOND_US
    longest = RETRY_TIERS_S.index(POLICY.park_max_s)
    tiers = [gate.choose_tier(NO_JAM, now_us, RETRY_TIERS_S)]
    for _ in range(longest + 1):
        tiers.append(gate.choose_tier(NO_JAM, now_us, RETRY_TIERS_S, waited_in=tiers[-1]))

    assert [*range(longest + 1), longest] == tiers


@pytest.mark.parametrize(("failed_s", "delay_s"), [(0, 60), (299, 60), (301, 600), (86_400, 600)])
def test_what_waits_for_an_endpoint_that_failed_for_long_may_wait_longer(failed_s: int, delay_s: int) -> None:
    """A wait is at most twice as long as it has failed, so that an outage becomes no more than three times as long."""
    full, probing = EndpointGate(POLICY), EndpointGate(POLICY)
    full.start(START_US)
    end(full, START_US, ok=False)
    break_open(probing, START_US)
    now_us = START_US + failed_s * SECOND_US
    probing.opened_until_us = now_us + 300 * SECOND_US
    probing.parked[0] = PROBES_PARKED
    longest = len(RETRY_TIERS_S)
    for gate in (full, probing):
        number = gate.choose_tier(Jam(500, 1e9), now_us, RETRY_TIERS_S, waited_in=longest)
        assert delay_s == RETRY_TIERS_S[number]

    probing.parked.clear()
    assert POLICY.park_max_s >= RETRY_TIERS_S[probing.choose_tier(NO_JAM, now_us, RETRY_TIERS_S)]
    full.start(now_us)
    end(full, now_us, ok=True)
    assert POLICY.park_max_s == RETRY_TIERS_S[full.choose_tier(Jam(500, 1e9), now_us, RETRY_TIERS_S)]


def test_a_failing_endpoint_starts_what_was_parked_at_the_pace_of_all() -> None:
    """The speed of one says little while hundreds take turns. A lane that works is given something to do."""
    gate = EndpointGate(POLICY)
    jam = Jam(4, 0.0, us_per_turn=5 * SECOND_US)

    assert 0 == gate.choose_tier(jam, START_US, RETRY_TIERS_S)
    gate.start(START_US)
    end(gate, START_US, ok=False)
    assert 60 == RETRY_TIERS_S[gate.choose_tier(jam, START_US, RETRY_TIERS_S)]
    assert 10 == RETRY_TIERS_S[gate.choose_tier(jam._replace(waiting=3), START_US, RETRY_TIERS_S)]
    gate.start(START_US)
    end(gate, START_US, ok=True)
    assert 0 == gate.choose_tier(jam, START_US, RETRY_TIERS_S)

    slow_moment_us = START_US + 2 * SECOND_US
    gate.start(START_US)
    assert gate.is_slow(slow_moment_us)
    assert 0 == gate.choose_tier(jam, slow_moment_us, RETRY_TIERS_S)


def test_an_endpoint_that_hangs_from_its_first_request_on_counts_as_failing() -> None:
    """Deliveries to it do not come back every few seconds until the request times out."""
    gate = EndpointGate(POLICY)
    jam = Jam(4, 0.0, us_per_turn=5 * SECOND_US)
    gate.start(START_US)

    assert 0 == gate.choose_tier(jam, START_US, RETRY_TIERS_S)
    assert 60 == RETRY_TIERS_S[gate.choose_tier(jam, START_US + 2 * SECOND_US, RETRY_TIERS_S)]


@given(st.integers(0, 1000), st.floats(100, 1e6))
def test_a_tier_takes_what_the_lane_gets_through_meanwhile(waiting: int, us_per_item: float) -> None:
    """Records that come back find room, and the lane something to do; the longest tier takes the rest."""
    gate = EndpointGate(POLICY)
    longest = RETRY_TIERS_S.index(POLICY.park_max_s)
    for _ in range(3_000):
        number = gate.choose_tier(Jam(waiting, us_per_item), START_US, RETRY_TIERS_S)
        ahead = waiting + sum(gate.parked[index] for index in range(number + 1))
        gate.parked[number] += 1

        assert number == longest or ahead * us_per_item < 2 * RETRY_TIERS_S[number] * SECOND_US
        assert all(
            (waiting + sum(gate.parked[index] for index in range(shorter + 1))) * us_per_item
            >= 2 * RETRY_TIERS_S[shorter] * SECOND_US
            for shorter in range(number)
        )


def test_a_lane_that_ran_empty_could_have_gone_on_at_its_speed() -> None:
    """The speed of a moment in which the lane was held up does not count for a while."""
    gate = EndpointGate(POLICY)
    slow = Jam(1_000, 20_000.0)
    chosen = [gate.choose_tier(slow, START_US, RETRY_TIERS_S)]
    gate.note_drained(1_000.0, START_US)
    chosen += [gate.choose_tier(slow, at_us, RETRY_TIERS_S) for at_us in (START_US, START_US + DRAINED_FOR_US)]

    assert [2, 0, 2] == chosen


def test_a_lane_whose_speed_is_not_known_is_taken_to_be_slow() -> None:
    """A lane counts as slow until it is measured: a quick endpoint does not say how much this process gets through."""
    gate = EndpointGate(POLICY)

    assert 0 == gate.choose_tier(Jam(99, 0.0), START_US, RETRY_TIERS_S)
    assert 1 == gate.choose_tier(Jam(100, 0.0), START_US, RETRY_TIERS_S)
    assert 0 == gate.choose_tier(Jam(100, 1000.0), START_US, RETRY_TIERS_S)


def test_what_is_parked_again_waits_longer_each_time() -> None:
    """The wait rises to the longest tier for parking without a success; a success brings the speed back."""
    gate = EndpointGate(POLICY)
    tiers = [gate.choose_tier(NO_JAM, START_US, RETRY_TIERS_S)]
    for _ in range(len(RETRY_TIERS_S)):
        tiers.append(gate.choose_tier(NO_JAM, START_US, RETRY_TIERS_S, waited_in=tiers[-1]))
    longest = max(index for index, delay_s in enumerate(RETRY_TIERS_S) if delay_s <= POLICY.park_max_s)

    assert [*range(longest + 1), longest] == tiers[: longest + 2]
    gate.start(START_US)
    end(gate, START_US, ok=True)
    assert 0 == gate.choose_tier(NO_JAM, START_US, RETRY_TIERS_S, waited_in=longest)
