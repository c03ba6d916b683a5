"""An error that no one awaited fails the test in which it happened."""

from pathlib import Path

import pytest

from tests.support.swallowed import find_swallowed

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]

DIES = """
import asyncio

async def test_dies_unseen():
    async def die():
        raise ValueError("this was swallowed")

    async def spawn():
        asyncio.create_task(die())

    await spawn()
    await asyncio.sleep(0)

async def test_callback_raises():
    def fail():
        raise ValueError("in a callback")

    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)

async def test_is_well():
    await asyncio.sleep(0)
"""


def test_a_swallowed_error_fails_its_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that died unseen and a callback that raised are errors; a test without either passes."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(DIES)

    # a run of its own: in this process the outer run would see the errors as well
    result = pytester.runpytest_subprocess("-p", "tests.support.swallowed", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=3, errors=2)
    assert "this was swallowed" in result.stdout.str()
    assert "in a callback" in result.stdout.str()


def test_signs_in_a_log() -> None:
    """The lines by which a process tells of a swallowed error are found in its log, and no others."""
    log = "ready api=…\nTask exception was never retrieved\nfuture: <Task …>\ncommit_failed reason=…"

    assert ["Task exception was never retrieved"] == find_swallowed(log)
