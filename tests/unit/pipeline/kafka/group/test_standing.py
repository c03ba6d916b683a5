import json

import pytest

from pipeline.kafka.group.standing import SLACK_S, Standing

SESSION_S = 10.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def standing(clock: Clock) -> Standing:
    return Standing("hookline.deliver", session_timeout_s=SESSION_S, clock_s=clock)


def describe(state: str, join_state: str) -> str:
    """A client's statistics. A topic may have the name of the part that counts."""
    group = {"state": state, "join_state": join_state, "rebalance_reason": "}"}
    return json.dumps({"topics": {"cgrp": {"state": "none"}}, "cgrp": group})


@pytest.mark.parametrize(
    ("state", "join_state"),
    [("query-coord", "steady"), ("wait-coord", "init"), ("up", "wait-join"), ("up", "wait-sync")],
)
def test_a_member_that_is_not_confirmed_says_so_after_a_while(
    standing: Standing, clock: Clock, state: str, join_state: str
) -> None:
    """A rebalance that goes well is over by then; the text names the group and where to look."""
    standing.hear(describe("up", "steady"))
    clock.now_s += 1000
    for _ in range(2):
        standing.hear(describe(state, join_state))
        clock.now_s += (SESSION_S + SLACK_S) / 2

    assert standing.check() is None

    clock.now_s += 1
    problem = standing.check() or ""

    assert ["hookline.deliver", "16 s", "__consumer_offsets"] == [
        word for word in ("hookline.deliver", "16 s", "__consumer_offsets") if word in problem
    ]

    standing.hear(describe("up", "steady"))

    assert standing.check() is None


def test_a_heartbeat_counts_for_a_session(standing: Standing, clock: Clock) -> None:
    """A client that says nothing of its coordinator is judged by the last answer."""
    standing.beat()
    clock.now_s += SESSION_S + SLACK_S

    assert standing.check() is None

    clock.now_s += 1

    assert standing.check() is not None

    standing.beat()

    assert standing.check() is None


def test_a_member_without_the_partitions_that_it_needs_names_its_group(standing: Standing) -> None:
    """A process at its start, and one that lost all that it had."""
    assert "no partitions of the group hookline.deliver are assigned" == standing.check(has_partitions=False)
    assert standing.check() is None


def test_a_client_that_has_not_asked_for_its_group_says_nothing(standing: Standing, clock: Clock) -> None:
    """The part that counts is missing from its statistics."""
    standing.note(is_member=True)
    standing.hear(json.dumps({"topics": {}}))
    clock.now_s += 1000

    assert standing.check() is None
