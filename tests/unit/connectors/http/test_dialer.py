import socket

import pytest

from connectors.http.dialer import DIAL_ADDRESSES_MAX, DialError, dial_any
from connectors.http.exchange import ErrorClass
from pipeline.core.destination import UNREACHABLE


class Network:
    """Knows which addresses are there; hands out one end of a pair."""

    def __init__(self, *present: str) -> None:
        self._present = present
        self.dialled: list[str] = []

    async def connect(self, address: str, port: int) -> socket.socket:
        self.dialled.append(address)
        if address not in self._present:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours


async def test_the_first_that_is_there() -> None:
    """In the order they were found."""
    network = Network("b", "c")
    sock = await dial_any(["a", "b", "c"], 443, is_allowed=lambda _: True, connect=network.connect)
    sock.close()

    assert ["a", "b"] == network.dialled


async def test_a_few_are_tried() -> None:
    """A name with many addresses of which none answers does not use up the time of all."""
    network = Network()
    with pytest.raises(DialError) as raised:
        await dial_any([str(number) for number in range(60)], 443, is_allowed=lambda _: True, connect=network.connect)

    assert DIAL_ADDRESSES_MAX == len(network.dialled)
    assert (ErrorClass.CONNECTION, "could not connect: connection refused") == (
        raised.value.error_class,
        raised.value.detail,
    )


async def test_the_last_look_is_right_before() -> None:
    """Whatever was checked before: what is not allowed is not dialled, and nothing behind it."""
    network = Network("a", "b")
    with pytest.raises(DialError) as raised:
        await dial_any(["x", "a", "b"], 443, is_allowed=lambda address: address != "a", connect=network.connect)

    assert ["x"] == network.dialled
    assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (raised.value.error_class, raised.value.detail)


async def test_no_address() -> None:
    """Nobody is there to be dialled."""
    with pytest.raises(DialError):
        await dial_any([], 443, is_allowed=lambda _: True, connect=Network().connect)
