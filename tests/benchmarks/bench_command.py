"""`hookline bench` as a user starts it, and what it leaves."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.evaluation.result import Curves, ScenarioResult
from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ

TIMEOUT_S = 400.0  # the first start on a machine downloads Kafka


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """An ended command. `err`: what it said."""

    code: int
    err: str


async def run_bench(*arguments: str, out: Path) -> Ran:
    """Run the benchmark to its end, with default settings."""
    return await _finish(await _start(*arguments, out=out))


async def interrupt_bench(*arguments: str, out: Path) -> Ran:
    """Start the benchmark, and end it by SIGTERM once a process runs below it. Its temporary files are in `out`."""
    process = await _start(*arguments, out=out, TMPDIR=str(out))
    try:
        await eventually(lambda: any(out.glob("hookline-bench-*/run/*.pid")), timeout_s=TIMEOUT_S)
    finally:
        process.terminate()
    return await _finish(process)


async def _start(*arguments: str, out: Path, **environ: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", "bench", "--out", str(out), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=select_environ(os.environ) | environ,
    )


async def _finish(process: Process) -> Ran:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return Ran(code=process.returncode, err=err.decode())


def read_result(out: Path, scenario: str) -> ScenarioResult:
    """The file of a scenario; raises when it does not have the documented form."""
    return msgspec.json.decode((out / f"{scenario}.json").read_bytes(), type=ScenarioResult)


def read_curves(out: Path, scenario: str) -> dict[str, Curves]:
    """The points of its plots, by case."""
    return msgspec.json.decode((out / "plots" / scenario / "curves.json").read_bytes(), type=dict[str, Curves])


def list_files(out: Path, pattern: str) -> list[Path]:
    """List the files that the command left, by name."""
    return sorted(out.glob(pattern))
