"""`hookline` commands as an operator calls them, run to their end."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, select_environ
from tests.support.stack import Stack

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


async def run_hookline(
    *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"", cwd: Path = ROOT
) -> Finished:
    """Run `hookline …` to its end, with no settings but those of `environ`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=select_environ(os.environ) | dict(environ or {}),
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Finished(code=process.returncode, out=out.decode(), err=err.decode())


async def run_ledger(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `hookline ledger` for tests that check that nothing was lost: exit code and answer, or its error."""
    ended = await run_hookline("ledger", "--json", *arguments, environ=stack.environ)
    return ended.code, json.loads(ended.out) if ended.out else {"error": ended.err}
