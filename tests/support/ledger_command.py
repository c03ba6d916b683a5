"""`hookline ledger` as an operator calls it, for tests that check that nothing was lost."""

import asyncio
import json
import os
import sys
from typing import Any

from tests.support.processes import ROOT, select_environ
from tests.support.stack import Stack


async def run_ledger(stack: Stack, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer; of one that says nothing, what it says on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pipeline.cli", "ledger", "--json", *arguments),
        cwd=ROOT,
        env=select_environ(os.environ) | stack.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {"error": error.decode()}
