"""Turns of the loop that others have beside work under test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Counts turns."""

    def __init__(self) -> None:
        self.count = 0

    async def take(self) -> None:
        """Runs until cancelled."""
        while True:
            self.count += 1
            await asyncio.sleep(0)


@asynccontextmanager
async def count_turns() -> AsyncIterator[Turns]:
    """Count the turns that another task has in the block."""
    turns = Turns()
    taking = asyncio.create_task(turns.take())
    try:
        yield turns
    finally:
        taking.cancel()
