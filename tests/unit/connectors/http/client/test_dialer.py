import errno
import socket

import pytest

from connectors.http.client.dialer import DialError, dial_any
from connectors.http.client.exchange import ErrorClass
from connectors.http.client.shortage import ShortageError
from pipeline.core.network.destination import UNREACHABLE


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


def allow(_: str) -> bool:
    return True


async def test_the_first_that_is_there() -> None:
    """The addresses are tried in the order they were found."""
    network = Network("b", "c")
    sock, address = await dial_any(["a", "b", "c"], 443, is_allowed=allow, connect=network.connect, timeout_s=5)
    sock.close()

    assert (["a", "b"], "b") == (network.dialled, address)


async def test_all_are_tried() -> None:
    """All addresses are tried, whatever is wrong with the others; the last one's answer is the error."""
    network = Network()
    addresses = [str(number) for number in range(60)]
    with pytest.raises(DialError) as raised:
        await dial_any(addresses, 443, is_allowed=allow, connect=network.connect, timeout_s=5)

    assert addresses == network.dialled
    assert (ErrorClass.CONNECTION, "could not connect: connection refused") == (
        raised.value.error_class,
        raised.value.detail,
    )


async def test_the_last_look_is_right_before() -> None:
    """A look right before dialling decides, whatever was checked before: one address is not allowed, and none is
    dialled.
    """
    network = Network("a", "b")
    with pytest.raises(DialError) as raised:
        await dial_any(
            ["x", "a", "b"], 443, is_allowed=lambda address: address != "a", connect=network.connect, timeout_s=5
        )

    assert [] == network.dialled
    assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (raised.value.error_class, raised.value.detail)


async def test_no_address() -> None:
    """A name without an address gives the dialer nothing to dial."""
    with pytest.raises(DialError):
        await dial_any([], 443, is_allowed=allow, connect=Network().connect, timeout_s=5)


async def test_a_shortage_of_ours_is_told_after_all_were_tried() -> None:
    """Another address may still answer; if none does, the endpoint is not blamed."""

    async def connect(address: str, _: int) -> socket.socket:
        raise OSError(errno.EMFILE if address == "a" else errno.ECONNREFUSED, "x")

    with pytest.raises(ShortageError, match="files"):
        await dial_any(["a", "b"], 443, is_allowed=allow, connect=connect, timeout_s=5)
