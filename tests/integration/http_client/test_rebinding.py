import asyncio
from collections.abc import Sequence

import pytest

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import ErrorClass, Failure
from pipeline.config import DeliverConfig
from pipeline.core.network.destination import UNREACHABLE
from tests.support.outbound import make_request
from tests.support.receiver import Receiver

# Everything as in production, but for the port, which the receiver has by chance.
CONFIG = DeliverConfig(allowed_ports="1-65535", denied_ports="")


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["::ffff:127.0.0.1"]],
        [["1.1.1.1", "127.0.0.1"], ["127.0.0.1"]],
        [["::1"], ["127.0.0.1", "1.1.1.1"]],
        [["0.0.0.0"], ["127.0.0.1"], ["127.1"], ["localhost"]],
    ],
)
async def test_a_server_on_loopback_is_never_reached(answers: list[list[str]]) -> None:
    """A server listens, the client really dials, and its name leads there: nothing arrives, at any of many tries."""
    left = list(answers)

    def look_up(name: str) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    async with Receiver() as receiver:
        client = HttpClient(CONFIG, lookup=look_up)
        requests = [make_request(f"http://{host}.example.com:{receiver.port}/") for host in "abcdefgh"]
        results = await asyncio.gather(*(client.send(request) for request in requests))
        client.close()

        for result in results:
            assert isinstance(result, Failure)
            assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (result.error_class, result.detail)
        assert 0 == receiver.received
        assert 0 == receiver.open_connections


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f000001", "0", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_url_that_means_loopback_is_never_reached(host: str) -> None:
    """A URL that itself means loopback reaches nothing either, with the system's own resolver."""
    async with Receiver() as receiver:
        client = HttpClient(CONFIG)
        result = await client.send(make_request(f"http://{host}:{receiver.port}/"))
        client.close()

        assert isinstance(result, Failure)
        assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (result.error_class, result.detail)
        assert 0 == receiver.received


async def test_what_is_denied_is_denied_to_trying_as_well() -> None:
    """Networks that are denied stay out of reach when private addresses are allowed."""
    async with Receiver() as receiver:
        for denied, is_reached in (("", True), ("127.0.0.0/8", False), ("10.0.0.0/8", True)):
            config = DeliverConfig(allow_private_addresses=True, denied_networks=denied)
            client = HttpClient(config, lookup=lambda _: ["127.0.0.1"])
            for host in ("127.0.0.1", "receiver"):
                before = receiver.received
                await client.send(make_request(f"http://{host}:{receiver.port}/"))
                assert is_reached == (receiver.received > before)
            client.close()
