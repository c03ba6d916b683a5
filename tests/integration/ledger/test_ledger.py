"""The conservation ledger over real processes: it adds up, and what is taken away it finds."""

import asyncio
from typing import Any

import aiohttp
import psycopg

from tests.support.commands import run_ledger
from tests.support.eventually import eventually
from tests.support.kafka import delete_all_records
from tests.support.receiver import Gone, Ok, Receiver, Status
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
ZERO = {"unaccounted_events": 0, "unaccounted_deliveries": 0}


def pick(account: dict[str, int], *names: str) -> dict[str, int]:
    return {name: account[name] for name in names}


async def test_it_adds_up_and_sees_what_was_taken_away(kafka: str, postgres: str, migrated_template: str) -> None:
    """Every state is counted; then a delivery's record is deleted from the log, and rows from the archive."""
    names = ("gateway", "matcher", "deliver", "archive")
    settings = {"ARCHIVE_LEDGER_INTERVAL_S": "0.2"}
    async with run_stack(kafka, postgres, migrated_template, *names, **settings) as stack, Receiver() as receiver:
        receiver.script("/gone", Gone())
        receiver.script("/failing", Status(500))
        receiver.script("/ok", Ok())
        accounts = {}
        for path in ("ok", "gone", "failing"):
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url(f"/{path}"), TYPE)
            accounts[path] = space
        for space in accounts.values():
            await stack.api.send(space, TYPE)
        unmatched = await stack.api.make_space(TYPE)
        await stack.api.send(unmatched, TYPE)
        kept = [await stack.api.send(accounts["ok"], TYPE) for _ in range(4)]

        async def all_ended() -> dict[str, Any]:
            code, books = await run_ledger(stack)
            assert 0 == code, books
            total = books["total"]
            assert {"deliveries": 7, "delivered": 5, "dead": 1, "waiting": 0} == pick(
                total, "deliveries", "delivered", "dead", "waiting"
            )
            # and one of Hookline's own, a moment later: the subscription that is gone was disabled
            assert {"events": 9, "matched": 9} == pick(total, "events", "matched")
            assert receiver.requests("/failing")  # what comes next is in a retry topic
            return dict(books)

        books = await eventually(all_ended, timeout_s=180)
        by_application = books["applications"]
        failing = by_application[accounts["failing"].application_id]

        account = by_application[unmatched.application_id]
        assert {"matched": 1, "deliveries": 0} == pick(account, "matched", "deliveries")
        assert 1 == failing["pending"] + failing["parked"]
        assert ZERO == pick(books["total"], *ZERO)

        # the record of a delivery that deliver has not seen yet is deleted from the log
        (deliver,) = stack.processes["deliver"]
        await deliver.stop()
        lost = await stack.api.send(accounts["ok"], TYPE)

        async def is_pending() -> bool:
            code, before = await run_ledger(stack)
            assert 0 == code, before
            assert 1 == before["applications"][accounts["ok"].application_id]["pending"]
            return True

        await eventually(is_pending, timeout_s=180)
        await asyncio.to_thread(delete_all_records, stack.kafka, stack.topics.deliveries)
        code, after = await run_ledger(stack)
        account = after["applications"][accounts["ok"].application_id]

        assert 1 == code
        assert {"deliveries": 6, "delivered": 5, "unaccounted_deliveries": 1} == pick(
            account, "deliveries", "delivered", "unaccounted_deliveries"
        )
        (missing,) = after["missing"]
        assert ("delivery", accounts["ok"].application_id) == (missing["kind"], missing["application_id"])
        assert missing["id"] == find_delivery(stack, lost)
        await eventually(lambda: wait_for_metric(stack, 1), timeout_s=90)

        # a dispatch with its delivery, and an event, disappear from the archive
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("delete from dispatches where event_id = %s", (kept[0],))
            connection.execute("delete from deliveries where event_id = %s", (kept[0],))
            connection.execute("delete from events where event_id = %s", (kept[1],))
        code, worse = await run_ledger(stack)
        account = worse["applications"][accounts["ok"].application_id]

        assert 1 == code
        assert {kept[0], kept[1], missing["id"]} == {each["id"] for each in worse["missing"]}
        assert 2 == account["unaccounted_events"]

        # and nothing can be told while the archive is behind
        (archive,) = stack.processes["archive"]
        await archive.stop()
        await stack.api.send(unmatched, TYPE)
        code, refused = await run_ledger(stack, "--wait", "0")

        assert 2 == code
        assert "the archive is" in refused["error"]


def find_delivery(stack: Stack, event_id: str) -> str:
    with psycopg.connect(stack.database_url) as connection:
        row = connection.execute("select delivery_id::text from deliveries where event_id = %s", (event_id,)).fetchone()
    assert row is not None
    return str(row[0])


async def wait_for_metric(stack: Stack, value: int) -> bool:
    """The archive process says so too."""
    (archive,) = stack.processes["archive"]
    url = (await archive.wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    assert f"hookline_unaccounted_deliveries {float(value)}" in text.splitlines()
    return True
