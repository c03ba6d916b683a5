"""Refusals of `hookline up`: one clear line within seconds, exit code 2, and nothing left running."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.left import find_left
from tests.support.commands import Finished, run_hookline
from tests.support.processes import ROOT, select_environ

NOWHERE = "127.0.0.1:1"
REFUSAL_MAX_S = 60.0  # a few seconds on a machine that does nothing else; Kafka's client takes ten


async def start_up(data_dir: Path, *arguments: str, environ: dict[str, str] | None = None) -> Finished:
    """Start `hookline up`, and see it refuse in order."""
    started_at_s = time.monotonic()
    finished = await run_hookline("up", "--json", "--data-dir", str(data_dir), *arguments, environ=environ)

    assert (2, "") == (finished.code, finished.out), finished.err
    assert "Traceback" not in finished.err
    assert [] == find_left(data_dir)
    assert time.monotonic() - started_at_s < REFUSAL_MAX_S
    return finished


def last_line(finished: Finished) -> str:
    """Return the line that a person reads in the end; Kafka's client may write after it."""
    return [line for line in finished.err.splitlines() if line.startswith("hookline: ")][-1]


@pytest.fixture
def given(kafka: str, topic_prefix: str, empty_database: str) -> dict[str, str]:
    """Services that work."""
    return {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix,
        "HOOKLINE_DATABASE_WRITE_URL": empty_database,
    }


async def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    """One that was asked for is not silently replaced."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        by_option = await start_up(tmp_path, "--port", str(port))
        by_setting = await start_up(tmp_path, environ={"HOOKLINE_GATEWAY_PORT": str(port)})

    for finished in (by_option, by_setting):
        assert f"port {port} for the gateway is taken: give another one" in last_line(finished)


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"HOOKLINE_GATEWAY_PRT": "1"}, "HOOKLINE_GATEWAY_PRT is not a setting: did you mean HOOKLINE_GATEWAY_PORT?"),
        (
            {"HOOKLINE_GATEWAY_MASTER_API_KEY": "secret"},
            "HOOKLINE_GATEWAY_MASTER_API_KEY: Input should be a valid UUID",
        ),
        ({"HOOKLINE_SEALING_KEYS": "secret"}, "a sealing key is `id:` and 32 bytes in base64"),
        ({"HOOKLINE_SEALING_KEY_FILE": "/nowhere/key"}, "cannot read the sealing keys from /nowhere/key"),
        ({"HOOKLINE_PROCESS_METRICS_PORT": "9100"}, "HOOKLINE_PROCESS_METRICS_PORT: several processes cannot share"),
        ({"HOOKLINE_KAFKA_USERNAME": "me"}, "the embedded Kafka has neither users nor TLS"),
    ],
)
async def test_wrong_settings_are_named(tmp_path: Path, environ: dict[str, str], reason: str) -> None:
    """The refusal comes before anything is started."""
    finished = await start_up(tmp_path, environ=environ)

    assert reason in last_line(finished)


async def test_a_data_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A directory below a file (root may write everywhere else), and one of another version."""
    (tmp_path / "file").touch()
    unwritable = await start_up(tmp_path / "file" / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "version").write_text("2\n")
    other_version = await start_up(tmp_path / "data")

    assert "cannot write to" in last_line(unwritable)
    assert "Not a directory" in last_line(unwritable)
    assert "holds data of layout 2, this is 1: choose another data directory" in last_line(other_version)


async def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    """One sentence, and nothing that keeps the next start from working."""
    line = f"ulimit -f 0; exec {sys.executable} -m pipeline.cli up --json --data-dir {tmp_path / 'data'}"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", line),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=select_environ(os.environ),
    )
    out, err = await process.communicate()

    assert (2, b"") == (process.returncode, out)
    assert f"hookline: cannot write to {tmp_path / 'data'} (File too large): make room" in err.decode()
    assert [] == list((tmp_path / "data").iterdir())


async def test_a_kafka_that_cannot_be_used_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    """A broker is missing, its address is none, or it does not let us in."""
    nowhere = await start_up(tmp_path, environ=given | {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": NOWHERE})
    no_address = await start_up(tmp_path, environ=given | {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "kafka"})
    stranger = await start_up(
        tmp_path, environ=given | {"HOOKLINE_KAFKA_USERNAME": "me", "HOOKLINE_KAFKA_PASSWORD": "wrong"}
    )

    assert f"cannot reach Kafka ({NOWHERE}: " in last_line(nowhere)
    assert "'kafka' is not host:port" in last_line(no_address)
    assert "wrong user or password (HOOKLINE_KAFKA_USERNAME, HOOKLINE_KAFKA_PASSWORD)?" in last_line(stranger)
    assert "wrong'" not in stranger.err


async def test_a_postgres_that_cannot_be_used_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    """A server is missing, or does not let us in; passwords are not repeated."""
    url = given["HOOKLINE_DATABASE_WRITE_URL"]
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    stranger_url = url.replace(f":{password}@", ":a-wrong-password@")
    nowhere = await start_up(
        tmp_path, environ=given | {"HOOKLINE_DATABASE_WRITE_URL": f"postgresql://me:a-wrong-password@{NOWHERE}/x"}
    )
    stranger = await start_up(tmp_path, environ=given | {"HOOKLINE_DATABASE_WRITE_URL": stranger_url})

    assert "cannot use PostgreSQL at 127.0.0.1:1, database x" in last_line(nowhere)
    assert "password authentication failed" in last_line(stranger)
    assert "a-wrong-password" not in nowhere.err + stranger.err


async def test_a_process_that_refuses_to_start_ends_it_with_its_reason(tmp_path: Path, given: dict[str, str]) -> None:
    """A process that refuses its start is not started over and over; the processes that run already are stopped."""
    finished = await start_up(tmp_path, environ=given | {"HOOKLINE_PROCESS_METRICS_HOST": "203.0.113.1"})

    assert "cannot start: cannot serve metrics on 203.0.113.1" in last_line(finished)


async def test_topics_of_another_shape_are_refused(tmp_path: Path, given: dict[str, str]) -> None:
    """Topics keep the number of partitions with which they were created."""
    await start_up(tmp_path, environ=given | {"HOOKLINE_PROCESS_METRICS_HOST": "203.0.113.1"})
    finished = await start_up(tmp_path, environ=given | {"HOOKLINE_KAFKA_PARTITIONS": "3"})

    assert "it has 8 partitions, 3 are declared (HOOKLINE_KAFKA_PARTITIONS)" in last_line(finished)
