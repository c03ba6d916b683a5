"""`hookline` commands run to their end, and what is left running of a data directory."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import ROOT, describe, is_running, select_environ

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


async def run_hookline(*arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> Finished:
    """Run `hookline …` to its end, with no settings but those of `environ`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=select_environ(os.environ) | dict(environ or {}),
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Finished(code=process.returncode, out=out.decode(), err=err.decode())


def find_left(data_dir: Path) -> list[str]:
    """All processes of the machine that have to do with a data directory, by command line or settings."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(data_dir) in word for word in words) and process.pid != os.getpid() and is_running(process):
            found.append(describe(process))
    return found
