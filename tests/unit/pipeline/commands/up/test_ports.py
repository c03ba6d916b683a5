"""Ports of `hookline up`: the same ones from start to start, as far as they are free."""

import socket
from pathlib import Path

import pytest

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.ports import LOOPBACK, FreePorts, describe_problem
from tests.support.free_ports import find_free_port

NAMES = ("the gateway", "Kafka", "PostgreSQL", "metrics of deliver.1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where ports are kept."""
    return tmp_path / "ports.json"


def test_the_next_start_has_the_same_ports(file: Path) -> None:
    """Every name gets its port again, in whatever order they are asked for."""
    first = FreePorts(file)
    chosen = {name: first.take(name) for name in NAMES}

    later = FreePorts(file)

    assert chosen == {name: later.take(name) for name in reversed(NAMES)}
    assert len(set(chosen.values())) == len(NAMES)


def test_a_port_that_is_taken_meanwhile_is_replaced(file: Path) -> None:
    """Another program listens on one of them: that name gets another port, and keeps it; the others stay."""
    first = FreePorts(file)
    chosen = {name: first.take(name) for name in NAMES}
    with socket.create_server((LOOPBACK, chosen["Kafka"])):
        second = FreePorts(file)
        others = {name: second.take(name) for name in NAMES}

    assert others["Kafka"] not in chosen.values()
    assert {name: port for name, port in others.items() if name != "Kafka"} == {
        name: port for name, port in chosen.items() if name != "Kafka"
    }
    assert others["Kafka"] == FreePorts(file).take("Kafka")


def test_what_is_asked_for_comes_first(file: Path) -> None:
    """A given port is taken or refused; a preferred one only where there was none before."""
    taken = find_free_port()
    with socket.create_server((LOOPBACK, taken)):
        ports = FreePorts(file)
        with pytest.raises(EmbeddedError, match=f"port {taken} for the gateway is taken"):
            ports.take("the gateway", taken)
        assert ports.take("the gateway", preferred=taken) != taken
    assert FreePorts(file).take("the gateway", preferred=taken) == ports.find_former("the gateway")
    assert FreePorts(file.with_name("new")).take("the gateway", preferred=taken) == taken


@pytest.mark.parametrize("content", [b"", b"{", b'{"Kafka": "x"}', b"[]", b'{"Kafka": 99999999}'])
def test_a_damaged_file_is_a_first_start(file: Path, content: bytes) -> None:
    """The start goes on with other ports."""
    file.write_bytes(content)

    port = FreePorts(file).take("Kafka")

    assert port == FreePorts(file).take("Kafka")


def test_a_port_is_never_handed_out_twice() -> None:
    """A name that asks twice gets two, and without a file nothing is kept."""
    ports = FreePorts()

    assert len({ports.take("metrics") for _ in range(20)}) == 20


def test_a_port_for_root_alone_is_not_taken() -> None:
    """The message says which ports this user may have."""
    problem = PermissionError(13, "Permission denied")

    assert "port 80 for the gateway may not be used by this user: give one from 1024 on" == (
        describe_problem(80, "the gateway", problem)
    )
