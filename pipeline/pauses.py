"""Pauses in what takes long: all that a process does shares one loop, and has a turn in a pause."""

import asyncio
import time
from collections.abc import Callable

TURN_MAX_S = 0.002
# A request takes some ten turns of the loop: beside long work each of them waits for a part of it.
TURNS = 4


class Pauses:
    """The pauses of one piece of work. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since_s = clock()

    async def take(self) -> None:
        """Let others have their turns, if none was for `TURN_MAX_S`. Call it after each part that takes less."""
        if self._clock() - self._since_s >= TURN_MAX_S:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self._since_s = self._clock()
