"""Commands without a Kafka: they say so at once if no broker listens, and wait for a broker that is slow."""

import json
import socket
from collections.abc import Iterator

import pytest

from pipeline.config import KafkaConfig
from pipeline.kafka.listening import refuse_closed
from pipeline.start_error import StartError
from tests.support.commands import run_hookline
from tests.support.free_ports import hold_closed_ports
from tests.support.proxy import TcpProxy

BOTH = " and PostgreSQL at 127.0.0.1:1, database hookline"
ID = "0190f1a2-0000-7000-8000-000000000001"
DATABASE = {"HOOKLINE_DATABASE_WRITE_URL": "postgresql://hookline@127.0.0.1:1/hookline"}
# each with what it says that it changes, behind Kafka; None: it only reads
COMMANDS = {
    "topics plan": None,
    "topics apply": "",
    f"topics producer {ID}": "",
    "ledger": None,
    "ledger --json": None,
    "doctor": None,
    f"dead redrive {ID}": BOTH,
    "archive rebuild": BOTH,
    "archive rebuild --dry-run": None,
}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_does_not_wait_for_a_closed_port(command: str) -> None:
    """The sentence is that of the first look: the client, which waits for ten seconds, has another one."""
    with hold_closed_ports(2) as (first, second):
        servers = f"127.0.0.1:{first},localhost:{second}"
        ended = await run_hookline(*command.split(), environ=DATABASE | {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": servers})

    sentence = (
        f"cannot reach Kafka at {servers}: all 2 brokers refuse connections. Is it running, is "
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS right?"
    )
    changed = COMMANDS[command]
    change = "" if changed is None else f"changing Kafka at {servers}{changed}\n"
    assert (2, f"{change}hookline: {sentence}\n") == (ended.code, ended.err)
    assert ({"error": sentence} if "--json" in command else None) == (json.loads(ended.out) if ended.out else None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "PLAINTEXT://127.0.0.1", "[::1]"])
def test_a_closed_port_is_refused(host: str) -> None:
    """All forms of an address are looked at."""
    with hold_closed_ports(1) as (port,), pytest.raises(StartError, match="it refuses connections"):
        refuse_closed(KafkaConfig(bootstrap_servers=f"{host}:{port}"))


@pytest.mark.parametrize("other", ["127.0.0.1:{silent}", "127.0.0.1:x", "no-such-name.invalid:9092", ""])
def test_a_broker_that_may_come_is_left_to_the_client(silent: int, other: str) -> None:
    """A silent broker, a name without an address or an unreadable one: the client says what it finds."""
    with hold_closed_ports(1) as (port,):
        refuse_closed(KafkaConfig(bootstrap_servers=f"127.0.0.1:{port}, {other.format(silent=silent)}"))


async def test_a_slow_broker_is_waited_for(kafka: str, topic_prefix: str) -> None:
    """Answers that come late are answers."""
    host, _, port = kafka.rpartition(":")
    async with TcpProxy(host, int(port)) as proxy:
        proxy.delay(1.0)
        environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": proxy.address, "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix}
        ended = await run_hookline("topics", "plan", environ=environ)

    assert (0, "") == (ended.code, ended.err)
    assert f"create      {topic_prefix}events" in ended.out
