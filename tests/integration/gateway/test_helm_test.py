"""The script of `helm test`, against a real gateway."""

import asyncio
import os
import sys

import pytest

from tests.support.processes import ROOT
from tests.support.stack import MASTER_KEY, Stack

SCRIPT = ROOT / "ops/kubernetes/hookline/files/send_event.py"
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def run_script(api: str, master_key: str) -> tuple[int, str]:
    """Run the script as the chart does, its text as an argument; exit code and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT.read_text(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HELM_TEST_API": api, "HELM_TEST_MASTER_KEY": master_key},
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_an_event_is_accepted_and_nothing_stays(stack: Stack) -> None:
    """The organization and the application that it makes are gone afterwards."""
    before = (await stack.api.call("GET", "/organizations")).json
    code, said = await run_script(stack.api.url, MASTER_KEY)
    after = (await stack.api.call("GET", "/organizations")).json

    assert (0, True) == (code, "accepted: event " in said), said
    assert before == after


async def test_it_fails_where_nothing_is_accepted(stack: Stack) -> None:
    """The test fails with a key that is not the installation's, for example."""
    code, said = await run_script(stack.api.url, "00000000-0000-4000-8000-000000000000")

    assert 1 == code
    assert "403" in said
