"""`hookline up` with everything embedded: what a newcomer does first. Few starts, each with much to look at."""

import asyncio
import base64
import json
import os
import re
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.e2e.api_client import read_event, send_event
from tests.e2e.left import find_left
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.processes import ROOT, HooklineUp, UpReport, select_environ

NAMES = ("archive", "deliver", "gateway", "kafka", "listen", "matcher", "postgres")
# Hookline's bounds, with memory that processes share counted once.
MEMORY_MAX_BYTES = 1.5 * 1024**3
LATER_START_MAX_S = 60.0  # 15 s on a machine that does nothing else


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory outside of pytest's own: as root PostgreSQL's user must pass through, and pytest closes its own."""
    with tempfile.TemporaryDirectory(prefix="hookline-test-up-") as directory:
        yield Path(directory) / "data"


async def wait_received(data_dir: Path, event_id: str) -> str:
    """The line of the built-in receiver about an event."""
    log = data_dir / "logs" / "listen.1.log"

    def find() -> str:
        lines = [line for line in log.read_text().splitlines() if event_id in line]
        assert lines, f"{event_id} has not arrived"
        return lines[0]

    return await eventually(find, timeout_s=60)


def measure_memory(pid: int) -> int:
    """Bytes of a process and all below it. PostgreSQL's come and go: one that has gone holds nothing."""
    found = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            found += process.memory_full_info().pss
    return found


async def test_the_first_start_works_and_the_second_one_goes_on(data_dir: Path) -> None:
    """A whole life: report, a verified delivery, files, an orderly end; and everything is there the next time."""
    async with HooklineUp(data_dir=data_dir) as up:
        first = up.report
        assert NAMES == tuple(sorted(first.pids))
        assert first.pids == {name: [up.pid(name)] for name in NAMES}
        assert {"archive", "deliver", "gateway", "listen", "matcher"} == first.metrics.keys()
        assert first.api.startswith("http://127.0.0.1:")
        assert first.api.endswith("/api/v1")
        async with aiohttp.ClientSession() as session:
            for name, url in first.metrics.items():
                async with session.get(url) as response:
                    assert 200 == response.status, name
        event_id = await send_event(first, '{"order":42}')

        line = await wait_received(data_dir, event_id)

        assert "shop.order.placed" in line
        assert line.endswith("12 B  signature ok (hook0, standard)")
        assert measure_memory(up.up_pid) < MEMORY_MAX_BYTES
        secrets = [*(data_dir / "secrets").iterdir(), data_dir / "demo.json", data_dir / "run" / "report.json"]
        assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in secrets}
        # every user of the machine sees the options
        assert not any(first.subscription_secret in word for pid in first.pids["listen"] for word in cmdline(pid))

        assert 0 == await up.stop()
        assert [] == find_left(data_dir)
        assert {"lock"} == {path.name for path in (data_dir / "run").iterdir()}

    started_at_s = time.monotonic()
    async with HooklineUp(data_dir=data_dir) as up:
        took_s, second = time.monotonic() - started_at_s, up.report
        event = await eventually_read(second, event_id)

        assert '{"order":42}' == base64.b64decode(event["payload"]).decode()
        for member in ("organization_id", "application_id", "application_secret", "subscription_id", "receiver"):
            assert getattr(first, member) == getattr(second, member), member
        for member in ("api", "kafka", "database_url", "metrics"):  # what was pasted somewhere still works
            assert getattr(first, member) == getattr(second, member), member
        assert (first.subscription_secret, first.master_api_key) == (second.subscription_secret, second.master_api_key)
        assert took_s < LATER_START_MAX_S
        assert "signature ok" in await wait_received(data_dir, await send_event(second))


def cmdline(pid: int) -> list[str]:
    return psutil.Process(pid).cmdline()


async def test_kill_9_leaves_nothing_and_the_next_start_recovers(data_dir: Path) -> None:
    """Services and processes notice that `hookline up` is gone; a start right afterwards waits for them and goes on."""
    up = HooklineUp(data_dir=data_dir)
    await up.start()
    event_id = await send_event(up.report)
    os.kill(up.up_pid, signal.SIGKILL)

    async with HooklineUp(data_dir=data_dir) as again:
        await up.stop()  # fails when one of the first start's is left
        event = await eventually_read(again.report, event_id)

        assert event_id == event["event_id"]
        assert up.report.application_id == again.report.application_id
        services = {name: again.report.pids[name] for name in ("kafka", "postgres")}
        again.kill("postgres")
        again.kill("kafka")
        for name in services:
            assert [await again.wait_restarted(name)] != services[name]
        assert "signature ok" in await wait_received(data_dir, await eventually_send(again))
    await eventually(lambda: not find_left(data_dir))


async def eventually_read(report: UpReport, event_id: str) -> dict[str, Any]:
    """An event, once the archive has read what it had not yet when everything ended."""

    async def read() -> dict[str, Any]:
        return await read_event(report, event_id)

    return await eventually(read, timeout_s=60)


async def eventually_send(up: HooklineUp) -> str:
    """Send an event as soon as Kafka takes one again."""

    async def send() -> str:
        return await send_event(up.report)

    return await eventually(send, timeout_s=60)


async def test_a_person_sees_where_things_are_and_what_arrives(tmp_path: Path, data_dir: Path) -> None:
    """A banner with a line to paste, and each delivery; `hookline send` needs nothing but a payload. Ctrl-C ends it."""
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        up = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline.cli", "up", "--data-dir", str(data_dir), "--deliver", "2"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=select_environ(os.environ),
            start_new_session=True,
        )
    try:
        banner = await eventually(lambda: read_banner(tmp_path / "out", up), timeout_s=240)
        send = ("send", "--data-dir", str(data_dir))
        sent = await run_hookline(*send, '{"hello":"world"}')
        in_kafka = await run_hookline(*send, "--kafka", "--type", "shop.order.paid")
        pasted = await asyncio.create_subprocess_shell(
            next(line for line in banner.splitlines() if line.startswith("  curl ")).replace("curl", "curl -sS", 1),
            stdout=asyncio.subprocess.PIPE,
        )
        answer = json.loads((await pasted.communicate())[0])
        for event_id in (sent.out.strip(), in_kafka.out.strip(), answer["event_id"]):
            await wait_shown(tmp_path / "out", event_id)
        many = await run_hookline(*send, "--count", "300", "-", stdin=b"[1,2,3]")
        log = data_dir / "logs" / "listen.1.log"
        await eventually(lambda: log.read_text().count("  7 B  signature ok") == 300, timeout_s=60)

        assert (0, 0, 0) == (sent.code, in_kafka.code, many.code)
        assert many.out.startswith("300 events accepted in ")
        up.send_signal(signal.SIGINT)
        assert 0 == await up.wait()
    except BaseException as error:
        error.add_note((tmp_path / "err").read_text())
        raise
    finally:
        if up.returncode is None:
            up.terminate()
            await up.wait()

    text = (tmp_path / "out").read_text()
    assert "\x1b" not in text
    assert "metrics of deliver.2" in text
    assert "signature WRONG" not in text
    assert 1 <= text.count("  7 B  signature ok") < 300  # a terminal is spared a flood
    left_out = re.findall(r"^\.\.\. and (\d+) more within that second; all are in the log$", text, re.MULTILINE)
    assert log.read_text().count("signature ok") == text.count("signature ok") + sum(map(int, left_out))
    assert (tmp_path / "err").read_text().endswith("stopping ...\n")
    assert [] == find_left(data_dir)
    gone = await run_hookline("send", "--data-dir", str(data_dir), "{}")
    assert 2 == gone.code
    assert "no `hookline up` runs in" in gone.err


async def wait_shown(out: Path, event_id: str) -> None:
    """Wait until a person can see that an event has arrived."""
    await eventually(lambda: f"event {event_id}" in out.read_text(), timeout_s=60)


def read_banner(out: Path, up: asyncio.subprocess.Process) -> str:
    """The banner, once it is complete."""
    if up.returncode is not None:
        raise RuntimeError(f"it ended with code {up.returncode}")
    text = out.read_text()
    assert "Ctrl-C stops everything" in text
    return text
