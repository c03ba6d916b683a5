import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from connectors.http.client.lookups import ZONE_SHARE
from connectors.http.client.resolver import (
    ADDRESSES_MAX,
    CACHE_MAX,
    FOUND_TTL_S,
    MISSING_TTL_S,
    STALE_MAX_S,
    ForbiddenAddressError,
    NameNotFoundError,
    ResolveError,
    Resolver,
)
from pipeline.core.network.addresses import AddressRules, parse_networks
from tests.support.eventually import eventually

Answers = Callable[[str], Sequence[str]]
LOOKUPS_MAX = 16


class Clock:
    """The time, as it is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_resolver(
    lookup: Answers, *, rules: AddressRules | None = None, clock: Clock | None = None, cache_max: int = CACHE_MAX
) -> Resolver:
    return Resolver(
        rules or AddressRules(), lookup=lookup, lookups_max=LOOKUPS_MAX, clock=clock or Clock(), cache_max=cache_max
    )


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no answer that a busy machine delays for silence, from now on."""
    monkeypatch.setattr("connectors.http.client.resolver.STALE_AFTER_S", 30.0)


def fail(errno: int) -> Answers:
    def look_up(name: str) -> Sequence[str]:
        raise socket.gaierror(errno, "no")

    return look_up


async def test_resolves() -> None:
    """All addresses, each once, in the order they were found; the name is asked for as a whole one."""
    asked: list[str] = []

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        return ["1.1.1.1", "2606:4700::1111", "1.1.1.1"]

    assert ("1.1.1.1", "2606:4700::1111") == await make_resolver(look_up).resolve("example.com", owner="one")
    # the dot keeps the search domains of this machine out of it: never example.com.svc.cluster.local
    assert ["example.com."] == asked


async def test_where_private_addresses_are_allowed_neighbours_have_names() -> None:
    """The hosts file and the search domains of this machine count then."""
    asked: list[str] = []

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        return ["10.0.0.1"]

    assert ("10.0.0.1",) == await make_resolver(look_up, rules=AddressRules(allows_private=True)).resolve(
        "receiver", owner="one"
    )
    assert ["receiver"] == asked


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "::1", "fd00::1", "fe80::1%2", "x"])
async def test_one_bad_address_spoils_the_name(position: int, bad: str) -> None:
    """One bad address refuses the name, wherever it stands: dialling the others first would be a matter of luck."""
    addresses = ["1.1.1.1", "8.8.8.8"]
    addresses.insert(position, bad)

    with pytest.raises(ForbiddenAddressError):
        await make_resolver(lambda _: addresses).resolve("example.com", owner="one")


async def test_denied_networks() -> None:
    """Own networks count as well, with and without private addresses allowed."""
    for allows_private in (False, True):
        rules = AddressRules(denied=parse_networks("1.1.1.0/24"), allows_private=allows_private)
        with pytest.raises(ForbiddenAddressError):
            await make_resolver(lambda _: ["8.8.8.8", "1.1.1.1"], rules=rules).resolve("example.com", owner="one")


@pytest.mark.parametrize("count", [ADDRESSES_MAX + 1, 1000, 100_000])
async def test_too_many_addresses(count: int) -> None:
    """A thousand addresses are an attack or a mistake; they are not all kept, let alone dialled."""
    addresses = [f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count)]

    with pytest.raises(ForbiddenAddressError):
        await make_resolver(lambda _: addresses).resolve("example.com", owner="one")
    assert tuple(addresses[:ADDRESSES_MAX]) == await make_resolver(lambda _: addresses[:ADDRESSES_MAX]).resolve(
        "a.com", owner="one"
    )


async def test_a_bad_address_behind_too_many_is_not_missed() -> None:
    """Only a part of them is remembered; what is refused once stays refused from memory."""
    addresses = [f"8.8.{number >> 8}.{number & 255}" for number in range(1000)] + ["127.0.0.1"]
    resolver = make_resolver(lambda _: addresses)
    for _ in range(2):
        with pytest.raises(ForbiddenAddressError):
            await resolver.resolve("example.com", owner="one")


@pytest.mark.parametrize("lookup", [fail(socket.EAI_NONAME), lambda _: []])
async def test_a_name_that_is_not_there(lookup: Answers) -> None:
    """The name does not exist, or has no address."""
    with pytest.raises(NameNotFoundError):
        await make_resolver(lookup).resolve("missing.example.com", owner="one")


@pytest.mark.parametrize("errno", [socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_resolver_that_fails_is_asked_again(errno: int) -> None:
    """A resolver's failure is not remembered."""
    lookups: list[Answers] = [fail(errno), lambda _: ["1.1.1.1"]]
    resolver = make_resolver(lambda name: lookups.pop(0)(name))

    with pytest.raises(ResolveError):
        await resolver.resolve("example.com", owner="one")
    assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")


async def test_a_name_that_cannot_be_encoded() -> None:
    """The system's resolver refuses some names in its own way."""

    def look_up(name: str) -> Sequence[str]:
        raise UnicodeError("label too long")

    with pytest.raises(ResolveError):
        await make_resolver(look_up).resolve("example.com", owner="one")


async def test_remembers_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is used again within its time; then the name is asked for again, and its new address judged."""
    be_patient(monkeypatch)
    clock = Clock()
    answers = [["1.1.1.1"], ["127.0.0.1"], ["8.8.8.8"]]
    resolver = make_resolver(lambda _: answers.pop(0), clock=clock)

    assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")
    clock.now_s += FOUND_TTL_S - 0.1
    assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")
    clock.now_s += 0.1
    with pytest.raises(ForbiddenAddressError):
        await resolver.resolve("example.com", owner="one")
    # what is remembered of a bad name is that it is bad
    with pytest.raises(ForbiddenAddressError):
        await resolver.resolve("example.com", owner="one")
    clock.now_s += FOUND_TTL_S
    assert ("8.8.8.8",) == await resolver.resolve("example.com", owner="one")


async def test_memory_is_bounded() -> None:
    """The names asked for longest ago are forgotten, and asked for again."""
    asked: list[str] = []

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        return ["1.1.1.1"]

    resolver = make_resolver(look_up, cache_max=3)
    for host in ("a.com", "b.com", "c.com", "d.com", "d.com", "b.com", "a.com"):
        await resolver.resolve(host, owner="one")

    assert ["a.com.", "b.com.", "c.com.", "d.com.", "a.com."] == asked


async def test_a_name_is_asked_for_once_at_a_time() -> None:
    """A thousand deliveries to one host are one look-up; one of them giving up does not affect the others."""
    asked: list[str] = []
    answering = threading.Event()

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        assert answering.wait(30)
        return ["1.1.1.1"]

    resolver = make_resolver(look_up)
    tasks = [asyncio.create_task(resolver.resolve("example.com", owner="one")) for _ in range(1000)]
    await eventually(lambda: asked)
    tasks[0].cancel()
    tasks[500].cancel()
    answering.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert ["example.com."] == asked
    assert 998 == results.count(("1.1.1.1",))
    assert isinstance(results[0], asyncio.CancelledError)


async def test_an_answer_that_comes_too_late_is_kept() -> None:
    """All callers have given up; the next one gets the answer at once, and a failure without a caller is not logged."""
    answering = threading.Event()

    def look_up(name: str) -> Sequence[str]:
        assert answering.wait(30)
        return ["1.1.1.1"] if name == "a.com." else fail(socket.EAI_AGAIN)(name)

    resolver = make_resolver(look_up)
    for name in ("a.com", "b.com"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resolver.resolve(name, owner="one")
    answering.set()

    assert ("1.1.1.1",) == await resolver.resolve("a.com", owner="one")
    with pytest.raises(ResolveError):
        await resolver.resolve("b.com", owner="one")


@pytest.mark.parametrize("errno", [socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_known_host_outlasts_its_name_servers(errno: int) -> None:
    """Name servers that fail say nothing about the host: it is reached where it was, for an hour, and then no more."""
    clock = Clock()
    lookups: list[Answers] = [lambda _: ["1.1.1.1"]]
    resolver = make_resolver(lambda name: (lookups.pop() if lookups else fail(errno))(name), clock=clock)
    begun_s = clock.now_s
    while clock.now_s < begun_s + STALE_MAX_S:
        assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")
        clock.now_s += FOUND_TTL_S

    with pytest.raises(ResolveError):
        await resolver.resolve("example.com", owner="one")


async def test_a_known_host_does_not_wait_for_silent_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host is reached where it was found last, until the name servers answer; also that there is none any more."""
    clock = Clock()
    answering = threading.Event()
    asked: list[str] = []
    answers = [["1.1.1.1"], ["8.8.8.8"], []]

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        if len(asked) == 2:
            assert answering.wait(30)
        return answers.pop(0)

    resolver = make_resolver(look_up, clock=clock)
    assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")
    clock.now_s += FOUND_TTL_S
    for _ in range(3):
        assert ("1.1.1.1",) == await resolver.resolve("example.com", owner="one")
    await eventually(lambda: len(asked) == 2)
    answering.set()
    be_patient(monkeypatch)

    async def is_found_again() -> bool:
        return await resolver.resolve("example.com", owner="one") == ("8.8.8.8",)

    async def is_missing() -> bool:
        with suppress(NameNotFoundError):
            return not await resolver.resolve("example.com", owner="one")
        return True

    await eventually(is_found_again)
    await asyncio.sleep(0)  # what was remembered in this turn of the loop would be the answer of the next look-up
    clock.now_s += FOUND_TTL_S
    await eventually(is_missing)  # the known address is given until the answer is here
    clock.now_s += MISSING_TTL_S - 1
    with pytest.raises(NameNotFoundError):
        await resolver.resolve("example.com", owner="one")
    assert 3 == len(asked)


async def test_what_is_not_awaited_any_more_keeps_no_place() -> None:
    """A name whose caller gave up before its turn is not asked for; one whose look-up had begun is, and is kept."""
    answering = threading.Event()
    asked: list[str] = []

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        assert answering.wait(30)
        return ["1.1.1.1"]

    resolver = make_resolver(look_up)
    tasks = [asyncio.create_task(resolver.resolve(f"{number}.example.com", owner="one")) for number in range(50)]
    begun = LOOKUPS_MAX // ZONE_SHARE
    await eventually(lambda: len(asked) == begun)
    for task in tasks:
        task.cancel()
    last = asyncio.create_task(resolver.resolve("last.example.com", owner="one"))
    await asyncio.sleep(0)
    answering.set()

    assert ("1.1.1.1",) == await last
    assert begun + 1 == len(asked)
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_known_host_outlasts_those_who_give_up_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot go on without the answer gives up before the look-up has begun: the other has the known one."""
    be_patient(monkeypatch)
    clock, asked, answering = Clock(), [], threading.Event()

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        assert name == "known.example.com." or answering.wait(30)
        return ["1.1.1.1"]

    resolver = make_resolver(look_up, clock=clock)
    await resolver.resolve("known.example.com", owner="one")
    others = [asyncio.create_task(resolver.resolve(f"{number}.example.com", owner="one")) for number in range(2)]
    await eventually(lambda: len(asked) == 1 + LOOKUPS_MAX // ZONE_SHARE)
    clock.now_s += FOUND_TTL_S
    again = asyncio.create_task(resolver.resolve("known.example.com", owner="one"))
    await asyncio.sleep(0)
    clock.now_s += STALE_MAX_S
    impatient = asyncio.create_task(resolver.resolve("known.example.com", owner="one"))
    await asyncio.sleep(0)
    impatient.cancel()

    assert ("1.1.1.1",) == await again
    answering.set()
    await asyncio.gather(*others)
    assert 3 == len(asked)
