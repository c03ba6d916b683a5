import asyncio
import socket
from collections.abc import Callable, Sequence

import pytest

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import ErrorClass, Failure, Result
from connectors.http.target import compile_target
from pipeline.config import DeliverConfig
from pipeline.core.network.destination import UNREACHABLE
from tests.support.outbound import SEALER, make_endpoint, make_request

Answers = Callable[[str], Sequence[str]]

# What a URL may say itself, in whatever notation.
HOSTS = [
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
    ),
    *("0", "0.0.0.0", "１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "169.254.169.254", "0xa9fea9fe", "2852039166"),
    *(
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "10.0.0.1",
        "10.1",
        "172.16.0.1",
        "192.168.0.1",
    ),
    *("100.64.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "240.0.0.1"),
    *(
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
    ),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]"),
    *("[2001:0:7f00:1::1]", "[2001:470::5efe:10.0.0.1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]"),
    *("[ff02::1]", "[100::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[4000::1]"),
    *("localhost", "LocalHost.", "ⓛocalhost", "a.localhost", "kafka", "db.internal", "metadata.google.internal"),
    *("printer.local", "gateway.default.svc", "a.default.svc.cluster.local", "router.lan", "a.home.arpa"),
]
# What a name may turn out to stand for.
ADDRESSES = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *(
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.1",
        "198.19.255.255",
        "224.0.0.251",
        "255.255.255.255",
    ),
    *("::", "::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    *("2002:a00:1::", "2001:0:a00:1::", "fd00:ec2::254", "fe80::1", "fe80::1%1", "ff02::1", "2001:db8::1", "junk"),
]


class World:
    """All that a client reaches the world by; writes down what it did. Nothing can be connected to."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []

    def look_up(self, name: str) -> Sequence[str]:
        """The next answer; the last one for ever."""
        self.asked.append(name)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def connect(self, address: str, port: int) -> socket.socket:
        self.dialled.append((address, port))
        raise ConnectionRefusedError(111, "Connection refused")

    def make_client(self, config: DeliverConfig | None = None) -> HttpClient:
        return HttpClient(config or DeliverConfig(), lookup=self.look_up, connect=self.connect)


async def send(world: World, url: str, config: DeliverConfig | None = None) -> Failure:
    client = world.make_client(config)
    result = await client.send(make_request(url))
    client.close()
    return as_failure(result)


def as_failure(result: Result) -> Failure:
    assert isinstance(result, Failure)
    return result


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_that_is_not_public(scheme: str, host: str) -> None:
    """Nothing is looked up, nothing is dialled; the sentence is the one for hosts that do not exist."""
    world = World(["1.1.1.1"])
    failure = await send(world, f"{scheme}://{host}/")

    assert [] == world.dialled
    assert [] == world.asked
    assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (failure.error_class, failure.detail)


@pytest.mark.parametrize("among", [[], ["1.1.1.1"]])
@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_name_that_stands_for_what_is_not_public(address: str, among: list[str]) -> None:
    """A forbidden address by itself or behind a good one: nothing is dialled, in the same words again."""
    world = World([*among, address])
    failure = await send(world, "https://example.com/")

    assert [] == world.dialled
    assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (failure.error_class, failure.detail)


async def test_blocked_and_missing_look_alike() -> None:
    """The answer does not tell a blocked name from one that does not exist, nor which of the two ways it was."""
    blocked = await send(World(["10.0.0.1"]), "https://example.com/")
    missing = await send(World(socket.gaierror(socket.EAI_NONAME, "unknown")), "https://example.com/")
    empty = await send(World([]), "https://example.com/")
    many = await send(World([f"8.8.{number >> 8}.{number & 255}" for number in range(1000)]), "https://example.com/")

    seen = {(each.error_class, each.detail, tuple(each.timings_us)) for each in (blocked, missing, empty, many)}
    assert {(ErrorClass.INVALID_TARGET, UNREACHABLE, ("total",))} == seen


@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
async def test_a_name_that_changes_its_mind(bad: str) -> None:
    """Only what was checked is dialled: one look-up for both, and each attempt checks what it uses itself."""
    world = World(["1.1.1.1"], [bad])
    client = world.make_client()
    for _ in range(20):
        failure = as_failure(await client.send(make_request("https://example.com/")))
        assert ErrorClass.CONNECTION == failure.error_class
    client.close()

    assert ["example.com."] == world.asked
    assert {("1.1.1.1", 443)} == set(world.dialled)

    # the other way round: as long as the answer is bad, nothing is dialled
    world = World([bad], ["1.1.1.1"])
    await send(world, "https://example.com/")
    assert [] == world.dialled


@pytest.mark.parametrize("errno", [socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_name_server_that_fails(errno: int) -> None:
    """The failure has a class of its own: another time it may answer."""
    world = World(socket.gaierror(errno, "failure"))
    failure = await send(world, "https://example.com/")

    assert [] == world.dialled
    assert ErrorClass.DNS == failure.error_class
    assert "the host's name could not be resolved at this time" == failure.detail


async def test_dials_what_was_found() -> None:
    """Addresses in turn, a few of them, at the URL's port; who refuses is named without an address."""
    world = World(["1.1.1.1", "2606:4700::1111", "8.8.8.8", "9.9.9.9"])
    failure = await send(world, "https://example.com:8443/")

    assert [("1.1.1.1", 8443), ("2606:4700::1111", 8443), ("8.8.8.8", 8443), ("9.9.9.9", 8443)] == world.dialled
    assert (ErrorClass.CONNECTION, "could not connect: connection refused") == (failure.error_class, failure.detail)


@pytest.mark.parametrize("port", [22, 25, 81, 1023, 2375, 3306, 5432, 6379, 9092, 10_250, 11_211, 27_017])
async def test_ports_that_are_not_the_webs(port: int) -> None:
    """Neither at a name nor at an address."""
    world = World(["1.1.1.1"])
    for host in ("example.com", "1.1.1.1", "[2606:4700::1111]"):
        failure = await send(world, f"http://{host}:{port}/")
        assert (ErrorClass.INVALID_TARGET, f"port {port} is not one that deliveries may go to") == (
            failure.error_class,
            failure.detail,
        )

    assert [] == world.dialled


async def test_settings() -> None:
    """Own networks, own ports, https only."""
    config = DeliverConfig(
        denied_networks="1.1.1.0/24 2606:4700::/32", allowed_ports="443 8000-8100", denied_ports="8050"
    )
    for url in ("https://1.1.1.1/", "https://[2606:4700::1]/", "https://9.9.9.9:9000/", "https://9.9.9.9:8050/"):
        world = World(["1.1.1.1"])
        assert ErrorClass.INVALID_TARGET == (await send(world, url, config)).error_class
        assert [] == world.dialled, url
    world = World(["8.8.8.8", "1.1.1.1"])
    assert UNREACHABLE == (await send(world, "https://example.com/", config)).detail
    assert [] == world.dialled

    world = World(["8.8.8.8"])
    await send(world, "https://example.com:8010/", config)
    assert [("8.8.8.8", 8010)] == world.dialled

    world = World(["8.8.8.8"])
    failure = await send(world, "http://example.com/", DeliverConfig(allow_plain_http=False))
    assert [] == world.dialled
    assert "the URL must start with https://" == failure.detail


@pytest.mark.parametrize(
    "url",
    [
        "http://[fe80::1%25eth0]/",
        "http://user@example.com/",
        "http://127.0.0.08/",
        "http://xn--/",
        "file:///etc/passwd",
    ],
)
def test_what_cannot_be_read_is_not_sent_to(url: str) -> None:
    """Such an endpoint has no origin at all, and says why."""
    target = compile_target(make_endpoint(url), SEALER)

    assert target.origin is None
    assert target.problem is not None


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "post", "GET /\r\nX: y", "", "PROPFIND"])
def test_methods_are_fixed(method: str) -> None:
    """Nothing but the seven that an endpoint may have."""
    target = compile_target(make_endpoint("https://example.com/", method=method), SEALER)

    assert target.origin is None
    assert "the method is not one that deliveries are sent with" == target.problem


async def test_slow_names_delay_nobody_else() -> None:
    """One domain whose name servers are silent: its requests end with its own time-out, others do not notice."""
    answering = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    def look_up(name: str) -> Sequence[str]:
        asked.append(name)
        if "slow" in name:
            asyncio.run_coroutine_threadsafe(answering.wait(), loop).result(30)
        return ["1.1.1.1"]

    world = World([])
    config = DeliverConfig(connect_timeout_s=2, total_timeout_s=20, lookups_max=8)
    client = HttpClient(config, lookup=look_up, connect=world.connect)
    slow = [asyncio.create_task(client.send(make_request(f"https://{number % 20}.slow.com/"))) for number in range(200)]
    for number in range(30):
        failure = as_failure(await client.send(make_request(f"https://{number}.example{number}.com/")))
        assert ErrorClass.CONNECTION == failure.error_class, failure.detail
    results = [as_failure(result) for result in await asyncio.gather(*slow)]
    answering.set()
    client.close()

    assert {ErrorClass.DNS} == {result.error_class for result in results}
    # one thread for one domain, of eight
    assert 1 == len([name for name in asked if "slow" in name])
