"""Slow endpoints of some applications, and healthy endpoints of others in the same process and partitions.

Healthy deliveries are counted by `webhook-id`. The slow ones cannot end within a test, so that all of the healthy ones
have arrived "meanwhile" when they have arrived at all.
"""

import logging
import time
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.integration.deliver.deliver_site import DeliverSite, Subscriber
from tests.support.eventually import eventually
from tests.support.receiver import Hang, Receiver

log = logging.getLogger(__name__)

ROUNDS = 5
OF_A_ROUND = 12
# Before lanes shared a budget these never arrived. On a calm machine a round takes some ten milliseconds.
ARRIVAL_TIMEOUT_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Behaviour of the slow endpoints, and how much is sent to each."""

    endpoints: int
    events: int
    payload_bytes: int = 100
    applications: int = 1
    rate_per_s: float | None = None  # None: they hang
    settings: tuple[tuple[str, str], ...] = ()
    answers: bool = False  # quickly, each of them


TROUBLES = {
    "rate-limited": Trouble(endpoints=21, events=500, rate_per_s=0.1),
    "hanging-with-large-payloads": Trouble(endpoints=1, events=300, payload_bytes=300_000),
    "hanging": Trouble(endpoints=30, events=400),
    "many-applications": Trouble(endpoints=400, events=30, applications=400),
    "few-places": Trouble(endpoints=80, events=3, settings=(("WORKER_MAX_CONNECTIONS", "64"),)),
    # all endpoints here are at one host and port
    "hanging-at-a-bounded-host": Trouble(
        endpoints=3, events=100, settings=(("DELIVER_DESTINATION_CONNECTIONS_MAX", "8"),)
    ),
    "flooding-a-rated-host": Trouble(
        endpoints=3, events=1000, answers=True, settings=(("DELIVER_DESTINATION_RATE_PER_S", "20"),)
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
async def test_healthy_endpoints_do_not_notice(kafka: str, topic_prefix: str, name: str) -> None:
    """All deliveries of an endpoint that was there before, and of a new one, arrive once while slow ones wait."""
    trouble = TROUBLES[name]
    site = await DeliverSite(kafka, topic_prefix, partitions=2).prepare()
    async with Receiver(default=Hang()) as receiver:
        receiver.script("/healthy*")
        if trouble.answers or trouble.rate_per_s is not None:
            receiver.script("/slow*")
        known, new = (site.subscribe(receiver.url(f"/healthy/{each}"), application_id=str(uuid4())) for each in "bc")
        slow = subscribe_slow(site, receiver, trouble)
        async with site.deliver(**dict(trouble.settings)) as deliver:
            before_s = await _send_rounds(site, receiver, known)
            for subscriber in slow:
                site.send(subscriber, count=trouble.events, payload=b"x" * trouble.payload_bytes)
            meanwhile_s = await _send_rounds(site, receiver, known)
            new_s = await _send_rounds(site, receiver, new)
            await deliver.kill()
        log.info("%s: s a round: before %s, meanwhile %s, a new endpoint %s", name, before_s, meanwhile_s, new_s)

        arrived = [request.header("webhook-id") for request in receiver.requests() if "/healthy" in request.path]
        slow_arrived = len(receiver.requests()) - len(arrived)
        assert len(set(arrived)) == len(arrived) == 3 * ROUNDS * OF_A_ROUND
        assert slow_arrived < trouble.endpoints * trouble.events


def subscribe_slow(site: DeliverSite, receiver: Receiver, trouble: Trouble) -> list[Subscriber]:
    """Subscribe the slow endpoints of `trouble`."""
    applications = [str(uuid4()) for _ in range(trouble.applications)]
    return [
        site.subscribe(
            receiver.url(f"/slow/{number}"),
            application_id=applications[number % len(applications)],
            rate_per_s=trouble.rate_per_s,
        )
        for number in range(trouble.endpoints)
    ]


async def _send_rounds(site: DeliverSite, receiver: Receiver, subscriber: Subscriber) -> list[float]:
    """Send a few, wait until all of them are there, and again; how long each round took, in seconds."""
    taken_s = []
    path = subscriber.url.removeprefix(receiver.url(""))
    for _ in range(ROUNDS):
        begun_s = time.monotonic()
        sent = {delivery.delivery_id for delivery in site.send(subscriber, count=OF_A_ROUND)}

        def all_there(sent: set[str] = sent) -> bool:
            missing = len(sent - {request.header("webhook-id") for request in receiver.requests(path)})
            assert missing == 0, f"{missing} of {len(sent)} have not arrived"
            return True

        await eventually(all_there, timeout_s=ARRIVAL_TIMEOUT_S)
        taken_s.append(round(time.monotonic() - begun_s, 2))
    return taken_s
