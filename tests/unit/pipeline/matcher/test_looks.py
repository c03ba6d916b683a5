"""Deliveries of this matcher are told from what others write, by looks at the topic from before."""

from pipeline.kafka.settled import Progress, Settled
from pipeline.matcher.looks import LOOKS_MAX, Look, Looks
from pipeline.matcher.outstanding import Outstanding

PLACE = ("deliveries", 0)
OTHER = ("deliveries", 1)


def take(outstanding: Outstanding, count: int) -> int:
    """Take deliveries of one application; how many it ever had taken."""
    assert all(outstanding.take("application", 100) for _ in range(count))
    return outstanding.taken


def look(outstanding: Outstanding, end: int, *, on_way: int = 0) -> Look:
    """A look at a topic of one partition."""
    return Look(outstanding.taken, on_way, {PLACE: end})


def progress(settled: Settled, end: int) -> Progress:
    """How far deliver is with a topic of one partition."""
    return Progress({PLACE: settled}, {PLACE: end})


def test_what_others_write_behind_says_nothing() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    take(outstanding, 100)
    looks.add(look(outstanding, 100))
    take(outstanding, 20)
    looks.add(look(outstanding, 5120))  # 5,000 of another matcher among them

    looks.settle(outstanding, progress(Settled(100), 5120))

    assert 20 == len(outstanding)


def test_what_is_open_may_be_of_anyone() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    take(outstanding, 100)
    looks.add(look(outstanding, 200))

    looks.settle(outstanding, progress(Settled(150, ((160, 190), (195, 300))), 400))

    assert 15 == len(outstanding)


def test_what_was_on_its_way_may_lie_behind() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    take(outstanding, 100)
    looks.add(look(outstanding, 70, on_way=30))

    looks.settle(outstanding, progress(Settled(70), 100))

    assert 30 == len(outstanding)


def test_looks_that_say_nothing_more_are_forgotten() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    for end in range(10, 60, 10):
        take(outstanding, 10)
        looks.add(look(outstanding, end))

    looks.settle(outstanding, progress(Settled(40), 50))

    assert (10, 1) == (len(outstanding), len(looks))


def test_a_deliver_that_stands_still_leaves_few_looks_and_the_first() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    for end in range(2, 202, 2):
        take(outstanding, 1)
        looks.add(look(outstanding, end))
    assert LOOKS_MAX >= len(looks)

    looks.settle(outstanding, progress(Settled(2), 200))

    assert 99 == len(outstanding)


def test_a_partition_that_nobody_settles_is_counted_apart() -> None:
    outstanding, looks = Outstanding(bound_min=1000), Looks()
    taken = take(outstanding, 10)
    looks.add(Look(taken, 0, {PLACE: 50, OTHER: 3}))

    measured = Progress({PLACE: Settled(80), OTHER: Settled()}, {PLACE: 100, OTHER: 3})
    looks.settle(outstanding, measured)

    assert 3 == len(outstanding)
    assert (80, 23) == (measured.count_settled(), measured.count_unsettled(measured.ends))
