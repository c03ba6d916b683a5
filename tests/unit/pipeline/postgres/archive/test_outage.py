"""An outage of PostgreSQL as health sees it."""

import asyncio

import pytest
from psycopg import errors

from pipeline.postgres.archive import outage as module
from pipeline.postgres.archive.outage import Outage
from tests.support.eventually import eventually


async def test_work_that_does_not_end_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that waits for standbys raises nothing: health says so after a while, until the work has ended."""
    monkeypatch.setattr(module, "LATE_S", 0.01)
    outage, may_end = Outage(), asyncio.Event()
    working = asyncio.create_task(outage.sit_out(may_end.wait))
    await eventually(lambda: "synchronous_standby_names" in (outage.check() or ""))
    may_end.set()

    assert await working
    assert outage.check() is None


async def test_a_right_that_was_taken_away_is_waited_for() -> None:
    """Health names the right, and the work is done once it is back."""
    outage, is_allowed = Outage(), asyncio.Event()

    async def work() -> str:
        if not is_allowed.is_set():
            raise errors.InsufficientPrivilege("permission denied for table events")
        return "done"

    working = asyncio.create_task(outage.sit_out(work))
    await eventually(lambda: "permission denied for table events" in (outage.check() or ""))
    is_allowed.set()

    assert "done" == await working
    assert outage.check() is None


async def test_a_mistake_of_ours_is_not_repeated() -> None:
    """A statement that is wrong stays so."""

    async def work() -> None:
        raise errors.SyntaxError("syntax error")

    with pytest.raises(errors.SyntaxError):
        await Outage().sit_out(work)
