"""An event for many endpoints that refuse: its deliveries wait in bundles; none is lost, repeated, or in the way."""

import asyncio
from collections import Counter

from pipeline.core.events.bundle import is_bundle, read_deliveries
from pipeline.core.events.records import is_probe
from tests.support.commands import run_ledger
from tests.support.eventually import eventually
from tests.support.log import read_log
from tests.support.receiver import Ok, Receiver, Status
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
REFUSING, WELL = 40, 2
EVENTS = 30
# Of an application that has 100 deliveries in front of others' the rest waits; it comes back within a minute.
UNSETTLED_MAX = "200"
NAMES = ("gateway", "matcher", "deliver", "archive")


def count_records(stack: Stack) -> tuple[int, int]:
    """Bundles in retry topics, and the deliveries in them."""
    values = [
        message.value() or b""
        for topic in stack.topics.retries
        for message in read_log(stack.kafka.bootstrap_servers, topic, isolation="read_committed")
    ]
    bundles = [value for value in values if not is_probe(value) and is_bundle(value)]
    return len(bundles), sum(len(read_deliveries(value)) for value in bundles)


async def test_bundles_are_delivered_once_each(kafka: str, postgres: str, migrated_template: str) -> None:
    """Endpoints that are well have everything while the others refuse, and those when they are well again.

    Deliver is killed in between; the books add up before and at the end.
    """
    settings = {"MATCHER_UNSETTLED_MAX": UNSETTLED_MAX}
    async with run_stack(kafka, postgres, migrated_template, *NAMES, **settings) as stack, Receiver() as receiver:
        receiver.script("/well*", Ok())
        receiver.script("/refusing*", Status(503))
        space = await stack.api.make_space(TYPE)
        paths = [*(f"/well/{each}" for each in range(WELL)), *(f"/refusing/{each}" for each in range(REFUSING))]
        for path in paths:
            await stack.api.subscribe(space, receiver.url(path), TYPE, delivery={"retry_delays_s": [5] * 40})
        for _ in range(EVENTS):
            await stack.api.send(space, TYPE)

        def have_all(prefix: str, endpoints: int) -> bool:
            """Has each endpoint all events?"""
            arrived = Counter(
                (request.path, request.header("webhook-id"))
                for request in receiver.requests()
                if request.path.startswith(prefix) and request.answer.startswith("Ok")
            )
            assert EVENTS * endpoints == len(arrived)
            assert {1} == set(arrived.values())
            return True

        await eventually(lambda: have_all("/well", WELL), timeout_s=150)
        await eventually(lambda: books_add_up(stack, delivered=EVENTS * WELL), timeout_s=120)
        bundles, bundled = await asyncio.to_thread(count_records, stack)
        (deliver,) = stack.processes["deliver"]
        await deliver.kill()
        receiver.script("/refusing*", Ok())
        await deliver.start()
        # a breaker may be open for as long as its endpoint refused, and the bundles come back each minute
        await eventually(lambda: have_all("/refusing", REFUSING), timeout_s=400)
        have_all("/well", WELL)
        books = await eventually(lambda: books_add_up(stack, delivered=EVENTS * len(paths)), timeout_s=120)

    assert 0 < bundles < bundled / 4
    assert (EVENTS * len(paths), 0) == (books["deliveries"], books["dead"])


async def books_add_up(stack: Stack, *, delivered: int) -> dict[str, int]:
    """The accounts of everything that was accepted, in which nothing is missing."""
    code, books = await run_ledger(stack)
    assert 0 == code, books
    total: dict[str, int] = books["total"]
    assert delivered == total["delivered"]
    return total
