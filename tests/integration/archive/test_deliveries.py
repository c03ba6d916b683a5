"""States of a delivery, from a real PostgreSQL."""

import psycopg
from msgspec.structs import replace

from pipeline.clock import wall_us
from pipeline.core.events.records import Dispatch
from pipeline.core.units import SECOND_US
from pipeline.postgres.archive.deliveries import find_delivery, list_deliveries
from pipeline.postgres.archive.paging import ListFilter
from pipeline.postgres.pool import Pool
from tests.integration.archive.records import (
    NOW_US,
    Log,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.test_attempts import made, subscribe
from tests.integration.archive.test_reads import open_archive

FAR_US = 10 * 365 * 86_400 * SECOND_US


async def find_states(pool: Pool, dispatches: dict[str, Dispatch]) -> dict[str, tuple[str, str | None]]:
    """State and reason of each, by id; the same as in the list."""
    found: dict[str, tuple[str, str | None]] = {}
    for name, dispatch in dispatches.items():
        delivery = await find_delivery(
            pool, dispatch.application_id, dispatch.matches[0]["delivery_id"], now_us=wall_us()
        )
        listed = await list_deliveries(pool, ListFilter(application_id=dispatch.application_id), now_us=wall_us())
        assert delivery is not None
        assert [delivery.delivery_id] == [each.delivery_id for each in listed.deliveries]
        found[name] = (delivery.state, delivery.reason)
    return found


async def test_states(database: str) -> None:
    """Each follows from the last attempt, the dead letter, the subscription and the endpoint."""
    log = Log()
    names = (
        "new",
        "failed",
        "delivered",
        "exhausted",
        "buried",
        "redriven",
        "cancelled",
        "disabled",
        "breaker",
        "held",
    )
    dispatches: dict[str, Dispatch] = {}
    for name in names:
        event = make_event(make_id())
        before_us = NOW_US + FAR_US if name == "disabled" else None
        dispatches[name] = make_dispatch(
            event, subscribe(database, event.application_id, cancelled_before_us=before_us)
        )
    attempts = {
        "failed": made(dispatches["failed"], "failed"),
        "delivered": made(dispatches["delivered"], "failed", "succeeded"),
        "exhausted": [replace(each, next_due_at_us=None) for each in made(dispatches["exhausted"], "failed")],
        "cancelled": made(dispatches["cancelled"], "failed", "cancelled"),
        "disabled": made(dispatches["disabled"], "failed"),
        "breaker": made(dispatches["breaker"], "failed"),
    }
    letters = {}
    for name in ("buried", "redriven"):
        dispatch = dispatches[name]
        letter = make_dead_letter(make_event(dispatch.application_id))
        letters[name] = replace(
            letter, event_id=dispatch.event_id, reason="corrupt", delivery_id=dispatch.matches[0]["delivery_id"]
        )
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(dispatch) for dispatch in dispatches.values()))
        await owner.write(*(log.append(attempt) for each in attempts.values() for attempt in each))
        await owner.write(*(log.append(letter) for letter in letters.values()))
        with psycopg.connect(database) as connection:
            connection.execute("insert into redrives (dead_id) values (%s)", (letters["redriven"].dead_id,))
            connection.execute(
                "insert into endpoint_states (subscription_id, changed_at_us, failing_since_us, opened_until_us) "
                "values (%s, 1, 1, %s)",
                (dispatches["breaker"].matches[0]["subscription_id"], NOW_US + FAR_US),
            )
            connection.execute(
                "update subscriptions set is_enabled = false, held_until = now() + interval '1 day' "
                "where subscription_id = %s",
                (dispatches["held"].matches[0]["subscription_id"],),
            )
        found = await find_states(pool, dispatches)

    assert {
        "new": ("waiting", None),
        "failed": ("waiting", None),
        "delivered": ("delivered", None),
        "exhausted": ("dead", "exhausted"),
        "buried": ("dead", "corrupt"),
        "redriven": ("waiting", None),
        "cancelled": ("cancelled", None),
        "disabled": ("cancelled", None),
        "breaker": ("parked", "breaker"),
        "held": ("parked", "held"),
    } == found
