"""The installation that is measured: one of our own, fresh and thrown away afterwards, or one that runs already."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.errors import BenchError
from bench.instruments.child import build_environ
from pipeline.core.process_kinds import PROCESS_KINDS

START_TIMEOUT_S = 300.0  # the first start on a machine downloads Kafka
STOP_TIMEOUT_S = 90.0
LINE_MAX_BYTES = 1024 * 1024
TAIL_BYTES = 2000


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and pids of an installation. Unknown parts are empty; figures that depend on them are not measured.

    `apis`: of all gateways; `metrics`: by process, `pids`: by name, on this machine. `kafka_dir`: Kafka's data.
    """

    api: str
    master_api_key: str
    kafka: str = ""
    database_url: str = ""
    metrics: dict[str, str] = {}
    pids: dict[str, list[int]] = {}
    apis: tuple[str, ...] = ()
    kafka_dir: Path | None = None


class GatewayFile(msgspec.Struct):
    """The file that a gateway writes to the run directory when it is ready."""

    api: str


@asynccontextmanager
async def run_installation(counts: Mapping[str, int], *, keeps_data: bool = False) -> AsyncIterator[Installation]:
    """Start `hookline up` in a new directory. Raises `BenchError`. The environment's settings hold for it.

    `keeps_data`: leave the directory, with its logs.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="hookline-bench-"))
    arguments = [word for kind in PROCESS_KINDS for word in (f"--{kind}", str(counts.get(kind, 1)))]
    with (data_dir / "up.log").open("ab") as log:
        up = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "pipeline.cli",
                "up",
                "--json",
                "--no-demo",
                "--unlisted",
                "--data-dir",
                str(data_dir),
            ),
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=log,
            limit=LINE_MAX_BYTES,
            env=build_environ(),
            start_new_session=True,  # Ctrl-C in the terminal is for us, who stop it in order
        )
    try:
        found = await _read_report(up, data_dir)
        pids = {**found.pids, "up": [up.pid]}
        yield _complete(msgspec.structs.replace(found, pids=pids), data_dir)
    finally:
        await _stop(up)
        if not keeps_data:
            shutil.rmtree(data_dir, ignore_errors=True)


def find_installation(data_dir: Path) -> Installation:
    """The `hookline up` that runs in a data directory. Raises `BenchError` when none does."""
    try:
        found = msgspec.json.decode((data_dir / "run" / "report.json").read_bytes(), type=Installation)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"no `hookline up` runs in {data_dir}: {error}") from error
    return _complete(found, data_dir)


def _complete(found: Installation, data_dir: Path) -> Installation:
    """Add what only the data directory knows: the addresses of all gateways, and Kafka's directory."""
    files = [data_dir / "run" / f"gateway.{pid}.json" for pid in found.pids["gateway"]]
    apis = tuple(msgspec.json.decode(file.read_bytes(), type=GatewayFile).api for file in files)
    # a Kafka that was given keeps its data elsewhere
    kafka_dir = data_dir / "kafka" if "kafka" in found.pids else None
    return msgspec.structs.replace(found, apis=apis, kafka_dir=kafka_dir)


async def _read_report(up: asyncio.subprocess.Process, data_dir: Path) -> Installation:
    assert up.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await up.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        tail = (data_dir / "up.log").read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        raise BenchError(f"hookline up did not start: {tail}")
    return msgspec.json.decode(line, type=Installation)


async def _stop(up: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        up.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await up.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            up.kill()  # its processes and services end when it is gone
        await up.wait()
