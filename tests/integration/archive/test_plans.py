"""Every list and look-up of the archive goes by an index and reads little; what names days reads those days only."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import psycopg

from pipeline.clock import wall_us
from pipeline.postgres.archive.attempts import find_attempt, find_response, list_attempts
from pipeline.postgres.archive.dead_letters import LetterFilter, list_letters
from pipeline.postgres.archive.deliveries import find_delivery, list_deliveries
from pipeline.postgres.archive.event_counts import count_events_by_day
from pipeline.postgres.archive.exports import Export, export_attempts, export_events
from pipeline.postgres.archive.filling import ROWS_PER_EVENT, fill_archive
from pipeline.postgres.archive.lists import EventFilter, list_events
from pipeline.postgres.archive.paging import Cursor, ListFilter
from pipeline.postgres.archive.partitions import ensure_days
from pipeline.postgres.archive.reads import find_event, known_event_ids
from pipeline.postgres.archive.stats import StatsFilter, read_stats
from pipeline.postgres.archive.tables import today
from pipeline.postgres.pool import Pool
from tests.integration.archive.plans import open_explained
from tests.integration.archive.records import (
    DAY_US,
    NOW_US,
    Log,
    make_attempt,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.tables import Owner, connect, open_writer

EVENTS_PER_DAY = 10_000
DAYS = 3
# of 120,000 rows; a page has 50 or 100, from each of three days and of three kinds
READ_MAX = 3_000
MAY_BE_EMPTY = frozenset({"dead letters of an event", "delivery"})
APPLICATION = str(UUID(hashlib.md5(b"application 0").hexdigest()))  # noqa: S324 - as the filling has it
SUBSCRIPTION = str(UUID(hashlib.md5(b"subscription 0").hexdigest()))  # noqa: S324


async def fill(database: str, pool: Pool) -> None:
    """Three days; every fifth attempt failed, and of every tenth delivery there is a dead letter."""
    connection = await connect(database)
    try:
        await ensure_days(connection, [today(NOW_US - number * DAY_US) for number in range(DAYS)])
        for number in range(DAYS):
            rows = EVENTS_PER_DAY * ROWS_PER_EVENT
            await fill_archive(pool, rows, now_us=NOW_US - number * DAY_US, progress=lambda _: None)
        await connection.execute(
            "update attempts set outcome = 'failed', next_due_at_us = finished_at_us where source_offset % 5 = 0"
        )
        await connection.execute(
            "insert into dead_letters select day, gen_random_uuid(), 'exhausted', '', 'x', 0, 0, appended_at_us, "
            "null, null, false, application_id, subscription_id, delivery_id, event_id, matched_at_us "
            "from deliveries where get_byte(uuid_send(delivery_id), 0) < 25"
        )
        await connection.execute("vacuum (analyze)")
    finally:
        await connection.close()


def find_ids(database: str) -> tuple[str, str]:
    """An event of the application, and the first attempt of its delivery."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select event_id::text, first_attempt_id::text from deliveries where application_id = %s "
            "order by matched_at_us limit 1 offset 7",
            (APPLICATION,),
        ).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_lists_and_look_ups_go_by_an_index(database: str) -> None:
    """No partition is read from end to end, and no more rows than some pages have."""
    async with open_explained(database, is_bare=True) as (pool, plans):
        await fill(database, pool)
        event_id, attempt_id = find_ids(database)
        after = Cursor(created_at_us=NOW_US, attempt_id=attempt_id)
        back = Cursor(created_at_us=NOW_US - DAY_US, attempt_id=attempt_id, is_backward=True)

        def attempts(*statuses: str, **members: object) -> Callable[[], Awaitable[object]]:
            wanted = ListFilter(application_id=APPLICATION, **members)  # type: ignore[arg-type]

            async def list_page() -> object:
                return (await list_attempts(pool, wanted, statuses=statuses, now_us=wall_us())).attempts

            return list_page

        queries: dict[str, Callable[[], Awaitable[object]]] = {
            "events": lambda: list_events(pool, EventFilter(application_id=APPLICATION)),
            "events, newer ones": lambda: list_events(pool, EventFilter(application_id=APPLICATION, after=back)),
            "deliveries": lambda: list_deliveries(pool, ListFilter(application_id=APPLICATION), now_us=wall_us()),
            "deliveries, newer ones": lambda: list_deliveries(
                pool, ListFilter(application_id=APPLICATION, after=back), now_us=wall_us()
            ),
            "delivery": lambda: find_delivery(pool, APPLICATION, attempt_id, now_us=wall_us()),
            "event": lambda: find_event(pool, APPLICATION, event_id),
            "known ids": lambda: known_event_ids(pool, [(APPLICATION, event_id)] * 100),
            "attempts": attempts(),
            "attempts, next page": attempts(after=after),
            "attempts of an event": attempts(event_id=event_id),
            "attempts of a subscription": attempts(subscription_id=SUBSCRIPTION),
            "attempts of a time": attempts(created_min_us=NOW_US - DAY_US, created_max_us=NOW_US),
            "attempts of a type": attempts(event_types=("shop.order.placed",)),
            "attempts of a status": attempts("failed"),
            "attempt": lambda: find_attempt(pool, APPLICATION, attempt_id, now_us=wall_us()),
            "response": lambda: find_response(pool, APPLICATION, attempt_id),
            "dead letters": lambda: list_letters(pool, LetterFilter(application_id=APPLICATION), limit=50),
            "dead letters, page before": lambda: list_letters(
                pool, LetterFilter(application_id=APPLICATION, after=back), limit=50
            ),
            "dead letters of an event": lambda: list_letters(
                pool, LetterFilter(application_id=APPLICATION, event_id=event_id)
            ),
        }
        found = {}
        for name, query in queries.items():
            plans.clear()
            answer = await query()
            found[name] = (plans.whole(), plans.rows() <= READ_MAX, bool(answer) or name in MAY_BE_EMPTY)
            assert plans.scans(), name

    assert dict.fromkeys(queries, ([], True, True)) == found


async def test_no_plan_of_an_empty_day_is_kept(database: str) -> None:
    """Look-ups that were planned before a day had rows read as little of it as others, once there are some."""
    application_id, log = make_id(), Log()
    async with open_explained(database, is_bare=True) as (pool, plans), open_writer(database) as writer:
        owner = Owner(writer)
        await writer.ensure_days([today(NOW_US)])
        look_ups: dict[str, Callable[[], Awaitable[object]]] = {
            "known ids": lambda: known_event_ids(pool, [(application_id, make_id()) for _ in range(100)]),
            "event": lambda: find_event(pool, application_id, make_id()),
            "delivery": lambda: find_delivery(pool, application_id, make_id(), now_us=wall_us()),
            "attempt": lambda: find_attempt(pool, application_id, make_id(), now_us=wall_us()),
            "attempts of an event": lambda: list_attempts(
                pool, ListFilter(application_id=application_id, event_id=make_id()), now_us=wall_us()
            ),
            "dead letters of an event": lambda: list_letters(
                pool, LetterFilter(application_id=application_id, event_id=make_id())
            ),
        }
        for look_up in look_ups.values():
            for _ in range(10):  # psycopg prepares a statement when it has seen it a few times
                await look_up()
        for _ in range(10):
            events = [make_event(application_id) for _ in range(100)]
            dispatches = [make_dispatch(event, make_id()) for event in events]
            attempts = [make_attempt(dispatch, outcome="failed") for dispatch in dispatches]
            letters = [make_dead_letter(event) for event in events]
            await owner.write(*(log.append(each) for each in (*events, *dispatches, *attempts, *letters)))
        read = {}
        for name, look_up in look_ups.items():
            plans.clear()
            await look_up()
            assert plans.scans(), name
            read[name] = plans.rows()

    assert dict.fromkeys(look_ups, 0) == read


async def test_what_names_days_reads_those_partitions(database: str) -> None:
    """Exports and counts by day touch the days they are asked for, and no other."""
    async with open_explained(database) as (pool, plans):
        await fill(database, pool)
        last = today(NOW_US)
        wanted = Export(application_id=APPLICATION, first=last - timedelta(days=1), last=last)
        names = {f"{wanted.first:%Y%m%d}", f"{wanted.last:%Y%m%d}"}
        plans.clear()
        events = [event async for event in export_events(pool, wanted)]
        of_events = plans.partitions("events")
        plans.clear()
        attempts = [attempt async for attempt in export_attempts(pool, wanted)]
        of_attempts = plans.partitions("attempts")
        plans.clear()
        await count_events_by_day(pool, first=wanted.first, last=wanted.last, application_id=APPLICATION)
        of_counts = plans.partitions("events")

    assert [200, 200] == [len(events), len(attempts)]
    assert {f"events_{name}" for name in names} == of_events
    assert {f"attempts_{name}" for name in names} == of_attempts
    assert of_counts <= {f"events_{name}" for name in names}


APPLICATIONS, SUBSCRIPTIONS, DAY_MINUTES = 20, 5, 1440


async def fill_minutes(database: str) -> None:
    """A day of minutes of several applications, each minute with attempts of every subscription."""
    connection = await connect(database)
    try:
        await connection.execute(
            "insert into attempt_minutes select md5('application ' || a)::uuid, md5('subscription ' || s)::uuid, m, "
            "'succeeded', '', 2, 1, 1000, array_fill(0::bigint, array[64]) "
            "from generate_series(0, %s) a, generate_series(0, %s) s, generate_series(0, %s) m",
            (APPLICATIONS - 1, SUBSCRIPTIONS - 1, DAY_MINUTES - 1),
        )
        await connection.execute("vacuum (analyze) attempt_minutes")
    finally:
        await connection.close()


async def test_figures_read_the_minutes_that_are_asked_for(database: str) -> None:
    """Figures read the minutes of one application or subscription and of the asked time, by an index, and no others."""
    async with open_explained(database, is_bare=True) as (pool, plans):
        await fill_minutes(database)
        found = {}
        for subscription_id in (None, SUBSCRIPTION):
            for first, last in ((600, 660), (0, DAY_MINUTES)):
                plans.clear()
                wanted = StatsFilter(
                    application_id=APPLICATION,
                    subscription_id=subscription_id,
                    first_minute=first,
                    last_minute=last,
                    step_minutes=60,
                )
                counted = await read_stats(pool, wanted)
                rows = (last - first) * (1 if subscription_id is not None else SUBSCRIPTIONS)
                found[subscription_id, last - first] = (
                    plans.whole(),
                    plans.rows() == rows == sum(each.attempts for each in counted),
                    len(counted),
                )

    assert found == {
        (subscription_id, minutes): ([], True, minutes // 60)
        for subscription_id in (None, SUBSCRIPTION)
        for minutes in (60, DAY_MINUTES)
    }
