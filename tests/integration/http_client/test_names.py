"""Names whose servers are silent, beside names that are found."""

import asyncio
import threading

from msgspec.structs import replace

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import Answer
from pipeline.config import DeliverConfig
from tests.support.outbound import make_request
from tests.support.receiver import Receiver

SILENT_ZONES, SILENT_NAMES = 8, 60
LOOKUPS_MAX = 32  # silent zones alone would hold all of them


async def test_silent_name_servers_delay_their_own_hosts() -> None:
    """Requests to a known host and to new ones are answered while those to silent domains wait."""
    answering = threading.Event()

    def look_up(name: str) -> list[str]:
        if "silent" in name:
            assert answering.wait(60)
        return ["127.0.0.1"]

    config = DeliverConfig(
        allow_private_addresses=True, lookups_max=LOOKUPS_MAX, connect_timeout_s=60, total_timeout_s=60
    )
    client = HttpClient(config, lookup=look_up)
    async with Receiver() as receiver:

        async def send(host: str, owner: str = "") -> bool:
            answer = await client.send(replace(make_request(f"http://{host}:{receiver.port}/"), owner=owner))
            return isinstance(answer, Answer) and answer.status == 200

        assert await send("known.example.com")
        silent = [
            asyncio.create_task(send(f"a{number}.silent{number % SILENT_ZONES}.com")) for number in range(SILENT_NAMES)
        ]
        await asyncio.sleep(0)
        new = await asyncio.gather(
            send("another.example.com"), *(send(f"a.new{number}.com") for number in range(2 * LOOKUPS_MAX))
        )

        assert all(new)
        # each in a domain of its own: one owner's silent ones hold no more places than leave some for others
        silent += [asyncio.create_task(send(f"a.silent-{number}.com", "one")) for number in range(20 * LOOKUPS_MAX)]
        await asyncio.sleep(0)
        assert all(await asyncio.gather(*(send(f"a.other{number}.com", f"{number}") for number in range(LOOKUPS_MAX))))
        assert not any(task.done() for task in silent)
        answering.set()
        await asyncio.wait(silent)
        assert await send("a.silent0.com")
    client.close()
