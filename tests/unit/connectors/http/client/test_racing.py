"""RFC 8305: a dead address costs a quarter of a second, not the delivery."""

import asyncio
import socket

import pytest

from connectors.http.client.racing import RaceError, Remembered, order, race


class Network:
    """Addresses that answer, refuse, or are silent; closed sockets are counted."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.dialled: list[str] = []
        self.given_up: list[str] = []

    async def connect(self, address: str, port: int) -> socket.socket:
        self.dialled.append(address)
        try:
            match self.answers.get(address, "silent"):
                case "answers":
                    ours, theirs = socket.socketpair()
                    theirs.close()
                    return ours
                case "refuses":
                    raise ConnectionRefusedError(111, "Connection refused")
                case _:
                    await asyncio.Event().wait()
                    raise AssertionError("never")
        except asyncio.CancelledError:
            self.given_up.append(address)
            raise


async def connect(network: Network, *addresses: str, timeout_s: float = 0.2) -> str:
    sock, address = await race(addresses, 443, connect=network.connect, timeout_s=timeout_s)
    sock.close()
    return address


async def test_a_silent_address_does_not_hold_up_the_next() -> None:
    """The first one dead, the second one alive: connected, and the first is given up."""
    network = Network(b="answers")
    address = await connect(network, "a", "b", "c")
    await asyncio.sleep(0)

    assert ("b", ["a", "b"], ["a"]) == (address, network.dialled, network.given_up)


async def test_a_refusal_is_answered_by_the_next_at_once() -> None:
    """The next address is dialled without waiting for the step."""
    async with asyncio.timeout(30):
        assert "b" == await connect(Network(a="refuses", b="answers"), "a", "b", timeout_s=1_000_000)


async def test_all_are_tried_within_the_time() -> None:
    """Sixty silent addresses, and the last one answers."""
    addresses = [f"n{number}" for number in range(60)]
    network = Network(n59="answers")
    async with asyncio.timeout(30):
        assert "n59" == await connect(network, *addresses)

    assert addresses == network.dialled


async def test_none_answers() -> None:
    """Every reason is told."""
    with pytest.raises(RaceError) as raised:
        await connect(Network(a="refuses", b="refuses"), "a", "b")

    assert 2 == len(raised.value.errors)


async def test_cancelled_with_all_of_its_connections() -> None:
    """The time-out ends those under way."""
    network = Network()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connect(network, "a", "b", timeout_s=0.02)
    await asyncio.sleep(0)

    assert sorted(network.dialled) == sorted(network.given_up)


@pytest.mark.parametrize(
    ("addresses", "first", "expected"),
    [
        (["::1", "::2", "1.1.1.1", "1.1.1.2"], None, ["::1", "1.1.1.1", "::2", "1.1.1.2"]),
        (["1.1.1.1", "1.1.1.2", "::1"], None, ["1.1.1.1", "::1", "1.1.1.2"]),
        (["::1", "1.1.1.1"], "1.1.1.1", ["1.1.1.1", "::1"]),
        (["::1", "1.1.1.1"], "9.9.9.9", ["::1", "1.1.1.1"]),
        ([], None, []),
    ],
)
def test_families_take_turns_behind_the_one_that_worked(
    addresses: list[str], first: str | None, expected: list[str]
) -> None:
    """One family without a route costs one step."""
    assert expected == order(addresses, first)


def test_what_is_remembered_is_bounded() -> None:
    """The places used longest ago are forgotten."""
    remembered = Remembered(remembered_max=2)
    for number in range(3):
        remembered.put(number, str(number))

    assert [None, "1", "2"] == [remembered.get(number) for number in range(3)]
