"""Which session holds the lock that the archive waits for: health names it beside what PostgreSQL says."""

import asyncio
import time
from contextlib import suppress

from psycopg import Error

from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.connection import open_archive_connection
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.lock_watch import WAITING

LOOK_S = 2.0
AGAIN_AFTER_S = 0.25
# Between two tries no session of ours waits.
SHOWN_FOR_S = 10.0


class LockHolder:
    """Looks while the archive's work does not go on. One instance a process."""

    def __init__(self, config: DatabaseConfig, outage: Outage) -> None:
        self._config = config
        self._outage = outage
        self._found: tuple[float, str] | None = None  # when (monotonic), and which

    def check(self) -> str | None:
        """Health: None, or what keeps the archive from PostgreSQL, with the holder of the lock if it is one."""
        problem = self._outage.check()
        if problem is None or self._found is None or time.monotonic() - self._found[0] > SHOWN_FOR_S:
            return problem
        return f"{problem}; it waits for a lock that session {self._found[1]} holds"

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._outage.check() is not None:
                with suppress(Error, TimeoutError):  # the problem says that nothing answers
                    await self._look()

    async def _look(self) -> None:
        """Look until the work goes on. A change of partitions waits for half a second at a time."""
        async with await open_archive_connection(self._config) as connection:
            while self._outage.check() is not None:
                async with asyncio.timeout(LOOK_S):
                    row = await (await connection.execute(WAITING, ("hookline-archive%", 0))).fetchone()
                if row is not None:
                    _, pid, application = row
                    self._found = (time.monotonic(), f"{pid} ({application or 'without a name'})")
                await asyncio.sleep(AGAIN_AFTER_S)
