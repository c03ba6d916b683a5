"""Deliveries that could be sent and are not: the process says so, and is well again when it goes on."""

from uuid import uuid4

import aiohttp

from tests.integration.deliver.deliver_site import DeliverSite
from tests.support.eventually import eventually
from tests.support.receiver import Hang, Ok, Receiver, Times
from tests.support.single_process import SingleProcess


async def test_places_that_are_all_taken_are_said(kafka: str, topic_prefix: str) -> None:
    """Two endpoints that were quick begin to hang and hold both places; a third one, as quick, has to wait."""
    site = await DeliverSite(kafka, topic_prefix, partitions=1).prepare()
    async with Receiver() as receiver:
        for path in ("/a", "/b"):
            receiver.script(path, Times(1, Ok()), Hang())
        a, b, c = (site.subscribe(receiver.url(path), application_id=str(uuid4())) for path in ("/a", "/b", "/c"))
        deliver = site.deliver(WORKER_MAX_CONNECTIONS="2", WORKER_STALLED_AFTER_S="1", DELIVER_TOTAL_TIMEOUT_S="15")

        async def is_well() -> bool:
            return "movement" not in await _read_problems(deliver)

        async with deliver:
            for subscriber in (a, b, c):
                site.send(subscriber)
            await eventually(lambda: receiver.received == 3)
            await eventually(is_well)
            site.send(a)
            site.send(b)
            await eventually(lambda: receiver.open_requests == 2)
            site.send(c)

            async def is_red() -> bool:
                return "none was" in (await _read_problems(deliver)).get("movement", "")

            await eventually(is_red)
            assert 1 == len(receiver.requests("/c"))
            await eventually(lambda: len(receiver.requests("/c")) == 2)
            await eventually(is_well)
            await deliver.kill()


async def _read_problems(process: SingleProcess) -> dict[str, str]:
    address = (await process.wait_ready())["metrics"].replace("/metrics", "/health")
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        problems: dict[str, str] = (await response.json())["problems"]
        assert response.status == (503 if problems else 200)
        return problems
