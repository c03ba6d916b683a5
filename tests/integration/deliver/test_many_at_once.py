"""How much one deliver process holds at once, and that it holds no more."""

from uuid import uuid4

import psutil

from tests.integration.deliver.deliver_site import DeliverSite
from tests.support.eventually import eventually
from tests.support.receiver import Hang, Receiver

MIB = 2**20
OPEN_MAX = 1000
UNKNOWN_MAX = 750  # of them for endpoints that have not answered yet
ENDPOINTS = 1100
PAYLOAD = b'{"n":"' + b"x" * 10_000 + b'"}'


async def test_hundreds_of_requests_are_open_and_no_more(kafka: str, topic_prefix: str) -> None:
    """Endpoints of 1,100 applications that never answer hold three quarters of the places; memory is bounded."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    async with Receiver(default=Hang()) as receiver:
        subscribers = [
            site.subscribe(receiver.url(f"/{number}"), application_id=str(uuid4())) for number in range(ENDPOINTS)
        ]
        deliver = site.deliver(
            WORKER_MAX_CONNECTIONS=str(OPEN_MAX),
            DELIVER_DESTINATION_CONNECTIONS_MAX="5000",
            DELIVER_TOTAL_TIMEOUT_S="120",
        )
        async with deliver:
            before = psutil.Process(deliver.pid).memory_info().rss
            for subscriber in subscribers:
                site.send(subscriber, count=3, payload=PAYLOAD)
            await eventually(lambda: receiver.max_open() >= UNKNOWN_MAX, timeout_s=60)
            grown = psutil.Process(deliver.pid).memory_info().rss - before
            await deliver.kill()

        assert UNKNOWN_MAX == receiver.max_open() == len(receiver.requests())
        # 3,300 records of 10 KB, and 750 requests of as much: what it may hold besides is a setting
        assert grown < 128 * MIB, f"{grown / MIB:.0f} MiB"
