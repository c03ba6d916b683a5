"""Reading attempts, made and owed, from a real PostgreSQL."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from pipeline.clock import wall_us
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.records import Attempt, Dispatch, OpenRequests
from pipeline.core.units import SECOND_US
from pipeline.postgres.archive.attempts import (
    PAGE_MAX,
    ArchivedAttempt,
    find_attempt,
    find_response,
    list_attempts,
)
from pipeline.postgres.archive.open_requests import save_open_requests
from pipeline.postgres.archive.paging import Cursor, ListFilter
from pipeline.postgres.pool import Pool
from tests.integration.archive.records import (
    Log,
    change,
    make_attempt,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.test_reads import open_archive


def subscribe(
    database: str, application_id: str, *, description: str | None = None, cancelled_before_us: int | None = None
) -> str:
    """A subscription as the API leaves it behind; its id. `cancelled_before_us`: it was disabled or deleted then."""
    subscription_id, organization_id = make_id(), make_id()
    cancelled_before = (
        None if cancelled_before_us is None else datetime.fromtimestamp(cancelled_before_us / 1_000_000, UTC)
    )
    with psycopg.connect(database) as connection:
        connection.execute("insert into organizations (organization_id, name) values (%s, 'o')", (organization_id,))
        connection.execute(
            "insert into applications (application_id, organization_id, name) values (%s, %s, 'a') "
            "on conflict do nothing",
            (application_id, organization_id),
        )
        connection.execute(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, description, "
            "metadata, labels, target_method, target_url, target_headers, key_id, sealed, cancelled_before, "
            "changed_version) "
            "values (%s, %s, true, '{a.b.c}', %s, '{}', '{}', 'POST', 'https://x.test', '{}', 'k', 'x', %s, 1)",
            (subscription_id, application_id, description, cancelled_before),
        )
    return subscription_id


def made(dispatch: Dispatch, *outcomes: str, match: int = 0) -> list[Attempt]:
    """Attempts of one delivery, with these outcomes in turn."""
    return [make_attempt(dispatch, match, number=n, outcome=outcome) for n, outcome in enumerate(outcomes, 1)]


async def list_all(pool: Pool, application_id: str, **fields: object) -> list[ArchivedAttempt]:
    """Page after page, to the end."""
    found: list[ArchivedAttempt] = []
    after: Cursor | None = None
    while True:
        wanted = ListFilter(application_id=application_id, after=after, **fields)  # type: ignore[arg-type]  # whatever filters there are
        page = (await list_attempts(pool, wanted, now_us=wall_us())).attempts
        found += page
        if len(page) < PAGE_MAX:
            return found
        after = Cursor(created_at_us=page[-1].created_at_us, attempt_id=page[-1].attempt_id)


async def list_status(pool: Pool, application_id: str, *statuses: str) -> list[ArchivedAttempt]:
    """Page after page to the end, and all the way back, which must show the same ones."""
    wanted = ListFilter(application_id=application_id)
    found: list[ArchivedAttempt] = []
    page = await list_attempts(pool, wanted, statuses=statuses, now_us=wall_us())
    while True:
        found += page.attempts
        if page.after is None:
            break
        page = await list_attempts(pool, replace(wanted, after=page.after), statuses=statuses, now_us=wall_us())
    back = page.attempts
    while page.before is not None and (len(back) == 0 or page.attempts):
        page = await list_attempts(pool, replace(wanted, after=page.before), statuses=statuses, now_us=wall_us())
        back = page.attempts + back
    assert found == back
    return found


def shorten(attempts: list[ArchivedAttempt]) -> list[tuple[int, str | None]]:
    return [(each.attempt_number, each.outcome) for each in attempts]


async def test_a_delivery_is_an_attempt_from_the_moment_it_is_owed(database: str) -> None:
    """Matched and not tried yet: it is in the list, without an outcome."""
    log, event = Log(), make_event(make_id())
    subscription_id = subscribe(database, event.application_id, description="billing")
    dispatch = make_dispatch(event, subscription_id)
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch))
        (attempt,) = await list_all(pool, event.application_id)

    assert attempt == ArchivedAttempt(
        attempt_id=derive_attempt_id(dispatch.matches[0]["delivery_id"], 1),
        attempt_number=1,
        delivery_id=dispatch.matches[0]["delivery_id"],
        event_id=event.event_id,
        event_type=event.event_type,
        subscription_id=subscription_id,
        description="billing",
        created_at_us=dispatch.matched_at_us,
        due_at_us=None,
        asked_at_us=None,
        outcome=None,
        started_at_us=None,
        finished_at_us=None,
        response_status=None,
        error_class=None,
        status="pending",
    )


async def test_each_failure_owes_another_attempt(database: str) -> None:
    """Failed twice: two that were made and one that is due; then it succeeds, and nothing is owed any more."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id())
    first, second, third = made(dispatch, "failed", "failed", "succeeded")
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch), log.append(first), log.append(second))
        attempts = await list_all(pool, dispatch.application_id)
        assert [(3, None), (2, "failed"), (1, "failed")] == shorten(attempts)
        assert (second.next_due_at_us, second.finished_at_us) == (attempts[0].due_at_us, attempts[0].created_at_us)
        assert (500, "E_HTTP", first.started_at_us, first.finished_at_us) == (
            attempts[2].response_status,
            attempts[2].error_class,
            attempts[2].started_at_us,
            attempts[2].finished_at_us,
        )
        await owner.write(log.append(third))
        after = await list_all(pool, dispatch.application_id)

    assert [(3, "succeeded"), (2, "failed"), (1, "failed")] == shorten(after)
    # the place of each stays what it was
    assert [(each.attempt_id, each.created_at_us) for each in attempts] == [
        (each.attempt_id, each.created_at_us) for each in after
    ]


async def test_a_delivery_that_was_given_up_owes_nothing(database: str) -> None:
    """A delivery has no next attempt after its last failure; redriven, it has one once it was made."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id())
    last = change(make_attempt(dispatch, outcome="failed"), next_due_at_us=None)
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch), log.append(last))
        assert [(1, "failed")] == shorten(await list_all(pool, dispatch.application_id))
        await owner.write(log.append(make_attempt(dispatch, number=2)))

        assert [(2, "succeeded"), (1, "failed")] == shorten(await list_all(pool, dispatch.application_id))


async def test_what_a_disabled_subscription_was_owed_is_cancelled(database: str) -> None:
    """Attempts owed before the subscription was disabled are cancelled; earlier attempts stay, later ones are owed."""
    log, application_id = Log(), make_id()
    before, after = make_event(application_id), make_event(application_id)
    cut_us = before.received_at_us + 10 * SECOND_US
    subscription_id = subscribe(database, application_id, cancelled_before_us=cut_us)
    old, late = make_dispatch(before, subscription_id), make_dispatch(after, subscription_id, appended_at_us=cut_us)
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(old), log.append(late), *(log.append(each) for each in made(old, "failed")))
        attempts = {
            (each.event_id, each.attempt_number): (each.outcome, each.finished_at_us)
            for each in await list_all(pool, application_id)
        }

    (failed,) = made(old, "failed")
    assert attempts == {
        (before.event_id, 1): ("failed", failed.finished_at_us),
        (before.event_id, 2): ("cancelled", cut_us),
        (after.event_id, 1): (None, None),
    }


async def test_an_attempt_that_was_cancelled_on_its_way_says_so(database: str) -> None:
    """The sink's own word: cancelled, without a request and without a response."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id())
    (cancelled,) = made(dispatch, "cancelled")
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch), log.append(cancelled))
        (attempt,) = await list_all(pool, dispatch.application_id)

        assert "cancelled" == attempt.outcome
        assert await find_response(pool, dispatch.application_id, attempt.attempt_id) is None


@pytest.mark.parametrize("seed", range(2))
async def test_pages_together_are_everything_once(database: str, seed: int) -> None:
    """Newest first, without a gap or a repeat, whatever is made during the reading; filters leave out the rest."""
    dice, log, application_id = random.Random(seed), Log(), make_id()
    subscription_ids = [make_id() for _ in range(3)]
    expected: dict[str, tuple[str, str, str]] = {}  # attempt id → event, subscription, type
    records = []
    for _ in range(60):
        event = change(make_event(application_id), event_type=dice.choice(["a.b.c", "a.b.d"]))
        # many at one moment, so that the id has to decide
        at_us = 1_790_000_000_000_000 + dice.randrange(4) * SECOND_US
        dispatch = make_dispatch(event, *dice.sample(subscription_ids, 2), appended_at_us=at_us)  # type: ignore[arg-type]  # `change` knows no class
        records.append(dispatch)
        for match in range(2):
            outcomes = ["failed"] * dice.randrange(3) + ["succeeded"] * dice.randrange(2)
            attempts = made(dispatch, *outcomes, match=match)
            records += attempts  # type: ignore[arg-type]  # records of several kinds
            owed = 1 + len([outcome for outcome in outcomes if outcome == "failed"])
            for number in range(1, owed + 1):
                delivery_id = dispatch.matches[match]["delivery_id"]
                expected[derive_attempt_id(delivery_id, number)] = (
                    dispatch.event_id,
                    dispatch.matches[match]["subscription_id"],
                    dispatch.event_type,
                )
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(record) for record in records), log.append(make_dispatch(make_event(make_id()))))
        listed = await list_all(pool, application_id)
        assert len(expected) > 3 * PAGE_MAX
        assert sorted(expected) == sorted(each.attempt_id for each in listed)
        keys = [(each.created_at_us, each.attempt_id) for each in listed]
        assert sorted(keys, reverse=True) == keys

        by_type = await list_all(pool, application_id, event_types=("a.b.c",))
        assert sorted(each for each, (_, _, kind) in expected.items() if kind == "a.b.c") == sorted(
            each.attempt_id for each in by_type
        )
        by_subscription = await list_all(pool, application_id, subscription_id=subscription_ids[0])
        assert sorted(each for each, (_, sub, _) in expected.items() if sub == subscription_ids[0]) == sorted(
            each.attempt_id for each in by_subscription
        )
        some_event = records[0].event_id
        by_event = await list_all(pool, application_id, event_id=some_event)
        assert sorted(each for each, (event_id, _, _) in expected.items() if event_id == some_event) == sorted(
            each.attempt_id for each in by_event
        )
        low_us, high_us = keys[-10][0], keys[10][0]
        between = await list_all(pool, application_id, created_min_us=low_us, created_max_us=high_us)
        assert [each for at_us, each in keys if low_us <= at_us <= high_us] == [each.attempt_id for each in between]


async def test_an_open_request_is_in_progress_until_its_outcome_is_there(database: str) -> None:
    """Deliver told of it; it is pending again when its time is over, and has its outcome as soon as there is one."""
    log, now_us = Log(), wall_us()
    dispatch = make_dispatch(make_event(make_id()), make_id(), make_id(), make_id())
    ids = [derive_attempt_id(match["delivery_id"], 1) for match in dispatch.matches]
    untils_us = (now_us + 60 * SECOND_US, now_us + 60 * SECOND_US, now_us - 1)
    told = OpenRequests(
        process="deliver",
        requests=[
            {"attempt_id": attempt_id, "started_at_us": now_us - 2 * SECOND_US, "until_us": until_us}
            for attempt_id, until_us in zip(ids, untils_us, strict=True)
        ],
    )
    async with open_archive(database) as (owner, pool):
        await save_open_requests(pool, told, now_us=now_us - 10 * SECOND_US)
        await owner.write(log.append(dispatch), log.append(make_attempt(dispatch, 1)))
        found = {each.attempt_id: each for each in await list_all(pool, dispatch.application_id)}
        one = await find_attempt(pool, dispatch.application_id, ids[0], now_us=wall_us())
        await save_open_requests(pool, OpenRequests(process="deliver", requests=[]), now_us=now_us)
        async with pool.connection() as connection:
            cursor = await connection.execute("select attempt_id::text from open_requests")
            kept = {row[0] for row in await cursor.fetchall()}

    assert ["in_progress", "successful", "pending"] == [found[each].status for each in ids]
    assert now_us - 2 * SECOND_US == found[ids[0]].started_at_us
    assert one == found[ids[0]]
    # those whose time is over are forgotten
    assert set(ids[:2]) == kept


async def test_pages_of_one_status(database: str) -> None:
    """Each attempt of the status is listed once, newest first, and back again, however many others lie between."""
    log, application_id = Log(), make_id()
    statuses = ("successful", "failed", "pending", "waiting")
    async with open_archive(database) as (owner, pool):
        for number in range(3 * PAGE_MAX):
            dispatch = make_dispatch(make_event(application_id), make_id())
            outcomes = (("succeeded",), ("failed",), ())[number % 3]
            await owner.write(log.append(dispatch), *(log.append(each) for each in made(dispatch, *outcomes)))
        everything = await list_all(pool, application_id)
        found = {status: await list_status(pool, application_id, status) for status in statuses}
        both = await list_status(pool, application_id, "successful", "failed")

    expected = {status: [each for each in everything if each.status == status] for status in statuses}
    assert expected == found
    assert len(everything) == sum(map(len, found.values()))
    assert [each for each in everything if each.outcome is not None] == both


async def test_an_attempt_is_found_by_its_id(database: str) -> None:
    """Made or owed, the first or a later one; by its own application only."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id())
    delivery_id = dispatch.matches[0]["delivery_id"]
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch), *(log.append(each) for each in made(dispatch, "failed", "failed")))
        found = [
            await find_attempt(pool, dispatch.application_id, derive_attempt_id(delivery_id, n), now_us=wall_us())
            for n in range(1, 5)
        ]

        assert [(1, "failed"), (2, "failed"), (3, None), None] == [
            each and (each.attempt_number, each.outcome) for each in found
        ]
        assert await find_attempt(pool, make_id(), derive_attempt_id(delivery_id, 1), now_us=wall_us()) is None


async def test_a_response_comes_back_byte_for_byte(database: str) -> None:
    """A long response is kept compressed and comes back, too; headers as they were."""
    log = Log()
    dispatch = make_dispatch(make_event(make_id()), make_id(), make_id())
    body = bytes(range(256)) * 30
    attempts = [
        change(make_attempt(dispatch, 0), response_body=body, response_headers={"x": "\x00ü"}),
        make_attempt(dispatch, 1, outcome="failed"),
    ]
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(dispatch), *(log.append(each) for each in attempts))
        first, second = [
            await find_response(pool, dispatch.application_id, derive_attempt_id(match["delivery_id"], 1))
            for match in dispatch.matches
        ]
        assert await find_response(pool, make_id(), derive_attempt_id(dispatch.matches[0]["delivery_id"], 1)) is None

    assert first is not None
    assert (body, {"x": "\x00ü"}, 200, 20_000) == (first.body, first.headers, first.status, first.elapsed_us)
    assert second is not None
    assert (500, "E_HTTP", "it answered 500") == (second.status, second.error_class, second.error_detail)
