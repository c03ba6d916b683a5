"""The long form of tests/integration/deliver/test_neighbours: two minutes of healthy deliveries beside each trouble."""

from uuid import uuid4

import pytest

from tests.integration.deliver.deliver_site import DeliverSite
from tests.integration.deliver.test_neighbours import TROUBLES, subscribe_slow
from tests.support.eventually import eventually
from tests.support.pace import paced
from tests.support.receiver import Hang, Receiver

SECONDS = 120
A_SECOND = 2
GRACE_S = 30.0


@pytest.mark.parametrize("name", TROUBLES)
async def test_two_minutes_beside_slow_endpoints(kafka: str, topic_prefix: str, name: str) -> None:
    """Two deliveries a second to a healthy endpoint: all arrive, while slow endpoints time out and are tried again."""
    trouble = TROUBLES[name]
    site = await DeliverSite(kafka, topic_prefix, partitions=2).prepare()
    async with Receiver(default=Hang()) as receiver:
        receiver.script("/healthy")
        if trouble.answers or trouble.rate_per_s is not None:
            receiver.script("/slow*")
        healthy = site.subscribe(receiver.url("/healthy"), application_id=str(uuid4()))
        slow = subscribe_slow(site, receiver, trouble)
        async with site.deliver(**dict(trouble.settings)) as deliver:
            for subscriber in slow:
                site.send(subscriber, count=trouble.events, payload=b"x" * trouble.payload_bytes)
            sent: set[str] = set()
            async for number in paced(1.0):
                if number == SECONDS:
                    break
                sent |= {delivery.delivery_id for delivery in site.send(healthy, count=A_SECOND)}

            def all_arrived() -> bool:
                return sent <= {request.header("webhook-id") for request in receiver.requests("/healthy")}

            await eventually(all_arrived, timeout_s=GRACE_S)
            await deliver.kill()

        assert SECONDS * A_SECOND == len(sent) == len(receiver.requests("/healthy"))
