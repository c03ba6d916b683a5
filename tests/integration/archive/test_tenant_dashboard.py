"""The dashboard of one application, asked of a real PostgreSQL by the role that Grafana has."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pipeline.core.events.records import DeadLetter
from pipeline.core.units import SECOND_US
from tests.integration.archive.records import Log, change, make_attempt, make_dead_letter, make_dispatch, make_event
from tests.integration.archive.tables import Owner, open_writer
from tests.support.dashboards import View, fill_in_sql, read_dashboards, reading_as_grafana

DASHBOARD = read_dashboards()["tenant"]
BEFORE_S = 600
Point = tuple[int, str, float]


@pytest.fixture
def reader(database: str) -> Iterator[str]:
    with reading_as_grafana(database) as url:
        yield url


async def fill(database: str) -> tuple[str, str, list[Any]]:
    """Two applications; of the first, two subscriptions, one of which fails twice, and a dead letter."""
    log, application_id, other_id = Log(), str(uuid4()), str(uuid4())
    good, bad, foreign = (str(uuid4()) for _ in range(3))
    with psycopg.connect(database) as connection:
        organization_id = uuid4()
        connection.execute("insert into organizations (organization_id, name) values (%s, 'Acme')", (organization_id,))
        for each, name in ((application_id, "Shop"), (other_id, "Blog")):
            connection.execute(
                "insert into applications (application_id, organization_id, name) values (%s, %s, %s)",
                (each, organization_id, name),
            )
    first = make_dispatch(make_event(application_id), good)
    second = make_dispatch(make_event(application_id), bad)
    attempts = [
        make_attempt(first),
        make_attempt(second, number=1, outcome="failed"),
        make_attempt(second, number=2, outcome="failed"),
        make_attempt(make_dispatch(make_event(other_id), foreign)),
    ]
    letter = change(
        make_dead_letter(make_event(application_id)),
        reason="exhausted",
        subscription_id=bad,
        died_at_us=attempts[0].finished_at_us,
    )
    assert isinstance(letter, DeadLetter)
    async with open_writer(database) as writer:
        owner = Owner(writer)
        for kind in (attempts, [letter]):
            records = [log.append(each) for each in kind]
            await owner.claim(records[0].place)
            await owner.write(*records)
    return application_id, bad, attempts


def ask(reader: str, view: View) -> dict[str, list[Point]]:
    """Ask each panel: time, line and value of its points."""
    with psycopg.connect(reader) as connection:
        return {
            panel["title"]: read_points(connection.execute(fill_in_sql(target["rawSql"], view).encode()).fetchall())
            for panel in DASHBOARD["panels"]
            for target in panel["targets"]
        }


def read_points(rows: Sequence[tuple[Any, ...]]) -> list[Point]:
    return [(int(time), str(metric), round(float(value), 3)) for time, metric, value in rows if value is not None]


def add_up(points: Sequence[Point]) -> dict[str, float]:
    """The sum of each line's values."""
    return {line: sum(value for _, each, value in points if each == line) for _, line, _ in points}


async def test_every_panel_shows_the_chosen_application(database: str, reader: str) -> None:
    """Counts are those of the attempts that were written; nothing of another application is among them."""
    application_id, bad, attempts = await fill(database)
    now_s = attempts[0].finished_at_us // SECOND_US
    view = View(first_s=now_s - BEFORE_S, last_s=now_s + BEFORE_S, step_s=60, application_id=application_id)
    shown = ask(reader, view)
    of_one = ask(
        reader,
        View(first_s=view.first_s, last_s=view.last_s, step_s=60, application_id=application_id, subscription_id=bad),
    )

    assert {"succeeded": 1, "failed": 2} == add_up(shown["Attempts of the application"])
    assert {"E_HTTP": 2} == add_up(shown["Errors of the application"])
    assert {bad: 2} == add_up(shown["Failed attempts by subscription"])
    assert {"exhausted": 1} == add_up(shown["Dead letters of the application"])
    # 20 ms are in the bucket from 20 to 50 ms
    assert {0.05} == {value for _, _, value in shown["Time of a request of the application"]}
    assert {"p50", "p95", "p99"} == {line for _, line, _ in shown["Time of a request of the application"]}
    assert {0.02} == {value for _, _, value in shown["Mean time of a request of the application"]}
    assert {"failed": 2} == add_up(of_one["Attempts of the application"])
    assert [] == [title for title, points in shown.items() if not points]


@pytest.mark.parametrize("step_s", [1, 60, 900])
async def test_a_longer_step_shows_the_same_attempts(database: str, reader: str, step_s: int) -> None:
    """A value is a rate a minute: times the minutes of its step it is the number of attempts, whatever the step is."""
    application_id, _, attempts = await fill(database)
    now_s = attempts[0].finished_at_us // SECOND_US
    view = View(first_s=now_s - 1800, last_s=now_s + 1800, step_s=step_s, application_id=application_id)
    points = ask(reader, view)["Attempts of the application"]
    minutes = max(1, step_s // 60)

    assert 3 == round(sum(value for _, _, value in points) * minutes)
    assert {0} == {time % (60 * minutes) for time, _, _ in points}


async def test_the_variables_offer_what_is_there(database: str, reader: str) -> None:
    """Applications by name and id; a name with a quote, and a choice that is SQL, are only text."""
    application_id, _, _ = await fill(database)
    applications, subscriptions = (each["query"] for each in DASHBOARD["templating"]["list"])
    view = View(first_s=0, last_s=60, step_s=60, application_id=application_id, subscription_id="' or true --")
    with psycopg.connect(reader) as connection:
        offered = connection.execute(applications).fetchall()
        connection.execute(fill_in_sql(subscriptions, view).encode())

    assert (f"Shop {application_id}", application_id) in offered
    assert [] == ask(reader, view)["Attempts of the application"]


@pytest.mark.parametrize(
    "statement",
    [
        "select sealed from subscriptions",
        "select target_url from subscriptions",
        "select source_value from dead_letters",
        "select payload from events",
        "select * from application_secrets",
        "delete from attempt_minutes",
    ],
)
async def test_the_reader_sees_no_more_than_figures(reader: str, statement: str) -> None:
    """Secrets, URLs and payloads are not granted to Grafana's role, and it changes nothing."""
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)

    assert caught.value.sqlstate in {"42501", "25006"}
