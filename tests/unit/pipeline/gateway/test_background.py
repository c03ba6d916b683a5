"""Background work that PostgreSQL refuses is begun again, and health says so meanwhile."""

import asyncio

import pytest
from psycopg import errors

from pipeline.gateway.background import SHOWN_FOR_S, Background
from pipeline.supervisor import Supervisor


class Work:
    """Background work that fails with these errors, one at each beginning."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.begun = 0
        self.done = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self._failures:
            raise self._failures.pop(0)
        self.done.set()


async def test_refused_work_is_begun_again() -> None:
    """Health names the work and PostgreSQL's reason, until there was time for another refusal."""
    now_s = 100.0
    work = Work(
        errors.UndefinedTable("no such table\nat all"),
        errors.CheckViolation("no such row"),
        errors.InsufficientPrivilege("no such right"),
    )
    background = Background(Supervisor(), again_after_s=0, clock=lambda: now_s)
    background.start("telling", work.run)
    await work.done.wait()
    said = background.check()
    now_s += SHOWN_FOR_S + 1

    assert 4 == work.begun
    assert "PostgreSQL refuses what background work asks: telling: no such right" == said
    assert background.check() is None


async def test_other_failures_end_the_process() -> None:
    """A mistake of ours is not waited for."""
    supervisor = Supervisor()
    Background(supervisor).start("telling", Work(ZeroDivisionError("a mistake")).run)

    with pytest.raises(ZeroDivisionError):
        await supervisor.failure()
