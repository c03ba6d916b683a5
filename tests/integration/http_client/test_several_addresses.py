"""A host with several addresses of which one is dead (RFC 8305), on real sockets."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import Answer
from pipeline.config import DeliverConfig
from tests.support.outbound import make_request
from tests.support.receiver import Receiver

CONFIG = DeliverConfig(allow_private_addresses=True, connect_timeout_s=20, total_timeout_s=30)
SILENT = "127.0.0.2"


@contextmanager
def silence(port: int) -> Iterator[None]:
    """Nothing answers at this port of the silent address: its queue is full, and the kernel drops what else comes."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind((SILENT, port))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((SILENT, port))
        yield


@pytest.mark.parametrize("addresses", [[SILENT, "127.0.0.1"], ["127.0.0.1", SILENT], [SILENT, SILENT, "127.0.0.1"]])
async def test_a_dead_address_beside_a_good_one(addresses: list[str]) -> None:
    """Ten of ten arrive, whichever comes first, and the good one is remembered."""
    async with Receiver() as receiver:
        client = HttpClient(CONFIG, lookup=lambda _: addresses)
        with silence(receiver.port):
            results = [await client.send(make_request(f"http://hooks.example.com:{receiver.port}/")) for _ in range(10)]
        client.close()

        assert [200] * 10 == [result.status if isinstance(result, Answer) else None for result in results]
