import asyncio
import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from connectors.http.client.lookup import start_daemon
from connectors.http.client.lookup_turns import Found
from connectors.http.client.lookups import ZONE_SHARE, ZONE_WAITING_MAX, Lookups, LookupsBusyError, find_zone
from connectors.http.client.shortage import LOOKUPS, OWN_LOOKUPS
from tests.support.eventually import eventually

AT_ONCE_MAX = 16
ZONE_MAX = AT_ONCE_MAX // ZONE_SHARE
UNKNOWN_MAX = AT_ONCE_MAX // 4
SLOW_MAX = AT_ONCE_MAX // 2
OWNER_MAX = 9  # of the twelve for slow and unknown zones together
SLOW_AFTER_S = 0.02


class NameServer:
    """Answers when it is told to: names that contain `slow` wait for that, others do not."""

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.asked: list[str] = []
        self.open = 0
        self.most_open = 0
        self._lock = threading.Lock()
        self._begun = threading.local()

    def make_lookups(self, *, at_once_max: int = AT_ONCE_MAX, slow_after_s: float = 60.0) -> Lookups:
        return Lookups(
            self.look_up, at_once_max=at_once_max, slow_after_s=slow_after_s, start_thread=self._start_thread
        )

    def _start_thread(self, run: Callable[[], None]) -> None:
        """Start a thread. Its look-up has its answer or waits for one then: none is slow on a busy machine."""
        begun = threading.Event()

        def run_and_tell() -> None:
            self._begun.event = begun
            run()
            begun.set()

        start_daemon(run_and_tell)
        assert begun.wait(30)

    def look_up(self, name: str) -> Sequence[str]:
        with self._lock:
            self.asked.append(name)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            if "slow" in name:
                self._begun.event.set()
                assert self.answering.wait(30)
            if "missing" in name:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return ["192.0.2.1"]
        finally:
            with self._lock:
                self.open -= 1


def ask(lookups: Lookups, name: str) -> Found:
    """Each zone is of an owner of its own."""
    return lookups.ask(name, find_zone(name))


def waits_for_others(lookups: Lookups, name: str) -> bool:
    return lookups.find_shortage(name, find_zone(name)) == LOOKUPS


async def test_asks() -> None:
    """Addresses come back, errors too."""
    lookups = NameServer().make_lookups()

    assert ["192.0.2.1"] == await ask(lookups, "a.example.com")
    with pytest.raises(socket.gaierror):
        await ask(lookups, "missing.example.com")


async def test_a_slow_zone_delays_nobody_else() -> None:
    """Silent names of one domain hold an eighth of the look-ups, however many they are, and others go on."""
    server = NameServer()
    lookups = server.make_lookups()
    slow = [ask(lookups, f"{number}.slow.com") for number in range(100)]
    for number in range(50):
        assert ["192.0.2.1"] == await ask(lookups, f"{number}.example.com")

    await eventually(lambda: server.open == ZONE_MAX)
    assert not any(future.done() for future in slow)
    server.answering.set()
    assert [["192.0.2.1"]] * 100 == await asyncio.gather(*slow)
    assert server.most_open <= ZONE_MAX + 1


async def test_slow_zones_hold_a_share_of_all_look_ups() -> None:
    """Known domains are looked up, and new ones, beside any number of silent ones, which get their turns later."""
    server = NameServer()
    lookups = server.make_lookups(slow_after_s=SLOW_AFTER_S)
    await ask(lookups, "a.known.com")
    slow = [ask(lookups, f"a.slow{number}.com") for number in range(50)]
    assert UNKNOWN_MAX == server.open
    for number in range(2 * AT_ONCE_MAX):
        assert ["192.0.2.1"] == await ask(lookups, f"{number}.known.com")
    await eventually(lambda: server.open == UNKNOWN_MAX + SLOW_MAX)
    for number in range(2 * AT_ONCE_MAX):
        assert ["192.0.2.1"] == await ask(lookups, f"{number}.known.com")

    server.answering.set()
    assert [["192.0.2.1"]] * 50 == await asyncio.gather(*slow)
    assert ["192.0.2.1"] == await ask(lookups, "a.new.com")
    assert server.most_open <= UNKNOWN_MAX + SLOW_MAX + 1


async def test_new_zones_do_not_wait_for_slow_ones() -> None:
    """Domains that were silent before wait among themselves. A new one waits for no place that they hold."""
    server = NameServer()
    lookups = server.make_lookups(slow_after_s=SLOW_AFTER_S)
    slow = [ask(lookups, f"a.slow{number}.com") for number in range(UNKNOWN_MAX)]
    await eventually(lambda: not waits_for_others(lookups, "b.slow0.com") and server.open == UNKNOWN_MAX)
    await asyncio.sleep(2 * SLOW_AFTER_S)
    more = [ask(lookups, f"{letter}.slow{number}.com") for letter in "bcd" for number in range(UNKNOWN_MAX)]
    for number in range(2 * AT_ONCE_MAX):
        assert ["192.0.2.1"] == await ask(lookups, f"a.new{number}.com")

    assert not waits_for_others(lookups, "d.slow0.com")
    server.answering.set()
    await asyncio.gather(*slow, *more)
    assert ["192.0.2.1"] == await ask(lookups, "a.slow0.com")


async def test_places_may_all_be_held_by_known_zones() -> None:
    """Zones that were quick before may have every place, as long as each leaves some for the next."""
    server = NameServer()
    lookups = server.make_lookups()
    for number in range(50):
        await ask(lookups, f"a.zone{number}.com")
    futures = [ask(lookups, f"slow.zone{number}.com") for number in range(50)]
    await eventually(lambda: server.open == AT_ONCE_MAX)
    assert waits_for_others(lookups, "slow.zone49.com")
    server.answering.set()
    await asyncio.gather(*futures)

    assert AT_ONCE_MAX == server.most_open


async def test_new_zones_do_not_wait_for_those_of_another_owner() -> None:
    """An owner with any number of silent domains, one after the other, leaves places to the new ones of others."""
    server = NameServer()
    lookups = server.make_lookups(slow_after_s=SLOW_AFTER_S)
    slow = [lookups.ask(f"a.slow{number}.com", "one") for number in range(50)]
    await eventually(lambda: server.open == OWNER_MAX)
    for number in range(2 * AT_ONCE_MAX):
        assert ["192.0.2.1"] == await lookups.ask(f"a.new{number}.com", f"other {number}")

    assert OWNER_MAX == server.open
    assert OWN_LOOKUPS == lookups.find_shortage("a.slow49.com", "one")
    assert lookups.find_shortage("a.slow0.com", "one") is None
    server.answering.set()
    assert [["192.0.2.1"]] * 50 == await asyncio.gather(*slow)


@pytest.mark.parametrize("owners", [2, 3, 10])
async def test_an_owner_has_no_more_than_what_is_still_free(owners: int) -> None:
    """One owner has three quarters of the places for known domains that turn silent, the next one of what is left."""
    server = NameServer()
    lookups = server.make_lookups()
    zones = [f"zone{number}-of-{owner}.com" for owner in range(owners) for number in range(AT_ONCE_MAX)]
    for zone in zones:
        await lookups.ask(f"a.{zone}", zone)
    slow = [lookups.ask(f"slow.{zone}", zone.partition("-")[2]) for zone in zones]
    held = [sum(name.endswith(f"-of-{owner}.com") for name in server.asked[len(zones) :]) for owner in range(owners)]

    assert [12, 3, 1, 0][:owners] == held[:4]
    server.answering.set()
    await asyncio.gather(*slow)


def begin_many(server: NameServer) -> tuple[Lookups, list[Found]]:
    """A look-up that holds the only place, and a hundred of the same owner that wait for it."""
    lookups = server.make_lookups(at_once_max=1)
    names = ["a.slow.com", *(f"a.many{number}.com" for number in range(100))]
    return lookups, [lookups.ask(name, "one") for name in names]


async def test_owners_take_turns() -> None:
    """An owner with many waiting names does not keep another one waiting behind all of them."""
    server = NameServer()
    lookups, many = begin_many(server)
    one = lookups.ask("a.example.com", "other")
    server.answering.set()
    await asyncio.gather(one, *many)

    assert server.asked.index("a.example.com") <= 3


async def test_a_name_waits_in_the_turns_of_all_who_need_it() -> None:
    """An owner that asked for another one's host first, behind many of its own, does not hold that one up."""
    server = NameServer()
    lookups, many = begin_many(server)
    shared = lookups.ask("a.example.com", "one")
    lookups.share("a.example.com", "other")
    lookups.share("a.example.com", "other")
    server.answering.set()
    await asyncio.gather(shared, *many)

    assert server.asked.index("a.example.com") <= 3
    assert 1 == server.asked.count("a.example.com")


async def test_what_nobody_waits_for_is_not_asked() -> None:
    """A caller that gave up while waiting for a turn costs nothing."""
    server = NameServer()
    lookups = server.make_lookups()
    futures = [ask(lookups, f"{number}.slow.com") for number in range(20)]
    for future in futures:
        future.cancel()
    server.answering.set()
    await ask(lookups, "a.example.com")
    await eventually(lambda: server.open == 0)
    await ask(lookups, "b.slow.com")

    assert ZONE_MAX + 2 == len(server.asked)


async def test_the_queue_of_a_zone_is_bounded() -> None:
    """More names of one domain than that are turned away at once; others are not."""
    server = NameServer()
    lookups = server.make_lookups()
    futures = [ask(lookups, f"{number}.slow.com") for number in range(ZONE_WAITING_MAX + ZONE_MAX)]
    with pytest.raises(LookupsBusyError):
        ask(lookups, "one.more.slow.com")
    assert ["192.0.2.1"] == await ask(lookups, "a.example.com")
    for future in futures:
        future.cancel()
    server.answering.set()
    await eventually(lambda: server.open == 0)


async def test_zones_take_turns() -> None:
    """A zone with many waiting names does not keep another one waiting behind all of them."""
    server = NameServer()
    lookups = server.make_lookups(at_once_max=1)
    first = ask(lookups, "a.slow.com")
    many = [ask(lookups, f"{number}.many.com") for number in range(100)]
    one = ask(lookups, "a.example.com")
    server.answering.set()
    await asyncio.gather(first, one, *many)

    assert server.asked.index("a.example.com") <= 3


def test_a_loop_that_is_gone_is_no_problem() -> None:
    """The process may end while a name server is still silent: nothing waits for it, and nothing is raised."""
    server = NameServer()

    async def begin() -> None:
        ask(server.make_lookups(), "a.slow.com")
        await eventually(lambda: server.open == 1)

    asyncio.run(begin())
    threads = [thread for thread in threading.enumerate() if thread.name == "lookup"]
    assert all(thread.daemon for thread in threads)
    server.answering.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("hooks.example.co.uk", "example.co.uk"),
        ("example.co.uk.", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.example.de", "example.de"),
        ("a.example.com.au", "example.com.au"),
    ],
)
def test_zone(name: str, zone: str) -> None:
    """The last two labels, or three where two of them stand for no owner yet."""

    assert zone == find_zone(name)


async def test_a_refused_thread_gives_its_place_back() -> None:
    """Names are looked up once the system has threads again, however many it refused."""
    refused = 10 * AT_ONCE_MAX

    def start_thread(run: Callable[[], None]) -> None:
        nonlocal refused
        if refused:
            refused -= 1
            raise RuntimeError("can't start new thread")
        start_daemon(run)

    lookups = Lookups(NameServer().look_up, at_once_max=AT_ONCE_MAX, start_thread=start_thread)
    for number in range(refused):
        with pytest.raises(RuntimeError):
            await ask(lookups, f"{number}.com")

    assert ["192.0.2.1"] == await ask(lookups, "a.com")


async def test_a_name_knows_whether_others_hold_its_place() -> None:
    """A silent zone is blamed for its own look-ups, and not for those of others."""
    server = NameServer()
    lookups = server.make_lookups()
    held = [ask(lookups, f"{number}.slow-{zone}.com") for zone in range(ZONE_SHARE) for number in range(ZONE_MAX + 1)]
    waiting = ask(lookups, "a.example.com")

    assert waits_for_others(lookups, "a.example.com")
    assert not waits_for_others(lookups, f"{ZONE_MAX}.slow-0.com")
    server.answering.set()
    await asyncio.gather(waiting, *held)
