"""Accepted events, arrivals and the archive: compared event by event after everything has come to rest."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import aiohttp
import psycopg

from tests.support.api import describe_event
from tests.support.pace import paced
from tests.support.payloads import Payload
from tests.support.receiver import ReceivedRequest

TRY_AGAIN_S = 0.2
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """`repeated`: requests beyond the first of a delivery; `unknown`: requests the archive has no attempt for."""

    events: int
    deliveries: int
    requests: int
    attempts: int
    repeated: int
    unknown: int


async def send_all(
    api: str, application_id: str, secret: str, payloads: Sequence[Payload], *, count: int, at_once: int
) -> dict[str, Payload]:
    """Send `count` events, each until it is accepted; event id → what it carried.

    A request without an answer is sent again under the same id: 409 then means that the first one was accepted.
    """
    accepted: dict[str, Payload] = {}
    numbers = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            payload = payloads[number % len(payloads)]
            body = describe_event(application_id, payload.event_type, event_id=str(uuid4()), payload=payload.payload)
            await _send_until_accepted(session, f"{api}/event", json.dumps(body).encode())
            accepted[body["event_id"]] = payload

    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work(session))
    return accepted


async def _send_until_accepted(session: aiohttp.ClientSession, url: str, body: bytes) -> None:
    async for number in paced(TRY_AGAIN_S, skips_missed=True):
        try:
            async with session.post(url, data=body) as response:
                text = await response.text()
                if response.status == 201 or (response.status == 409 and number > 0):
                    return
                assert response.status in (500, 503), f"{response.status}: {text}"
        except (aiohttp.ClientError, TimeoutError):
            pass  # it may or may not be accepted


def draw_up(
    database_url: str,
    application_id: str,
    accepted: dict[str, Payload],
    requests: Iterable[ReceivedRequest],
    *,
    subscriptions: int,
) -> Ledger:
    """Compare. Raises AssertionError for whatever was lost, changed, archived twice, or made up."""
    with psycopg.connect(database_url) as connection:
        archived = {
            str(row[0])
            for row in connection.execute("select event_id from events where application_id = %s", (application_id,))
        }
        deliveries = {
            str(row[0]): str(row[1])
            for row in connection.execute(
                "select delivery_id, event_id from deliveries where application_id = %s", (application_id,)
            )
        }
        attempts = [
            (str(row[0]), row[1], row[2])
            for row in connection.execute(
                "select delivery_id, attempt_number, outcome from attempts where application_id = %s", (application_id,)
            )
        ]
    arrived = list(requests)
    bodies = {event_id: payload.payload.encode() for event_id, payload in accepted.items()}
    by_delivery = Counter(request.header("webhook-id") for request in arrived)
    recorded = Counter(delivery_id for delivery_id, _, _ in attempts)

    assert accepted.keys() == archived, "accepted events and archived events differ"
    assert Counter(deliveries.values()) == Counter(dict.fromkeys(accepted, subscriptions)), "not every event matched"
    assert by_delivery.keys() == deliveries.keys(), f"{len(deliveries.keys() - by_delivery.keys())} never arrived"
    assert all(bodies[request.header("X-Event-Id")] == request.body for request in arrived), "a body was changed"
    assert len(attempts) == len({(delivery_id, number) for delivery_id, number, _ in attempts}), "archived twice"
    assert deliveries.keys() == {delivery_id for delivery_id, _, outcome in attempts if outcome == "succeeded"}
    assert all(count <= by_delivery[delivery_id] for delivery_id, count in recorded.items()), "an attempt was made up"
    return Ledger(
        events=len(accepted),
        deliveries=len(deliveries),
        requests=len(arrived),
        attempts=len(attempts),
        repeated=len(arrived) - len(by_delivery),
        unknown=sum(by_delivery.values()) - sum(recorded.values()),
    )
