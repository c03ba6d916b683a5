from typing import Any

import msgspec
import pytest

from bench.cases.scenario import Closed, Group
from bench.evaluation.counting import find_count_problems
from bench.evaluation.evaluation import Deliveries, Evidence
from bench.evaluation.evidence import Reckoning, Sent
from bench.instruments.journal import SENT, open_columns
from tests.unit.bench.results import make_case

COUNTS = make_case().counts["all"]


def find_problems(*, must_arrive: bool = True, **members: object) -> list[str]:
    """Return the problems that are said of these counts."""
    evidence = Evidence(
        group=Group(load=Closed(), must_arrive=must_arrive),
        sent=Sent(batch=1, columns=open_columns(SENT), refused=frozenset()),
        deliveries=Deliveries(latencies_us=[], arrived=[]),
        reckoning=Reckoning(expected=600, arrived=600, repeated=0, lost=0, unasked=0),
    )
    return find_count_problems(msgspec.structs.replace(COUNTS, **members), evidence)


def test_accepted_delivered_and_archived_are_the_same() -> None:
    """Equal sets give no problem."""
    assert [] == find_problems()


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"lost": 2}, "2 deliveries of accepted events were LOST"),
        ({"refused": 1}, "1 events were refused: {'201': 600}"),
        ({"accepted": 0, "archived_events": 0, "archived_deliveries": 0}, "no event was accepted: {'201': 600}"),
        ({"unasked": 1}, "1 deliveries went to endpoints they were not for"),
        (
            {"archived_events": 599, "archived_deliveries": 599},
            "600 events were accepted and 599 are archived",
        ),
        (
            {"archived_events": 601, "archived_deliveries": 601},
            "600 events were accepted and 601 are archived",
        ),
        ({"archived_deliveries": 599}, "599 deliveries are archived, not 1 for each event"),
        ({"archived_succeeded": 599}, "600 deliveries arrived, 599 are archived as such"),
    ],
)
def test_what_does_not_add_up_is_a_problem(members: dict[str, Any], problem: str) -> None:
    """Each by itself."""
    assert [problem] == find_problems(**members)


def test_an_answer_that_never_came_may_be_an_event() -> None:
    """One more in the archive than was accepted is then no wonder."""
    assert [] == find_problems(unknown=1, archived_events=601, archived_deliveries=601)


def test_sick_endpoints_need_not_have_got_everything() -> None:
    """Events of sick endpoints are archived all the same."""
    assert [] == find_problems(must_arrive=False, delivered=10, archived_succeeded=9)
    assert [] != find_problems(must_arrive=False, archived_events=599)


def test_without_a_database_only_the_receiver_is_asked() -> None:
    """The database is missing when the installation is somewhere else."""
    assert [] == find_problems(archived_events=None, archived_deliveries=None, archived_succeeded=None)
