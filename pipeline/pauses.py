"""Pauses in long work, in which the other tasks of the process' one loop have a turn.

After a pause one piece of long work goes on, by turns of the tenants. If each went on by itself, everything else would
wait for a part of every one of them in each turn of the loop, and a tenant decides how many there are.
"""

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from pipeline.tenant import TENANT
from pipeline.tenant_turns import TenantTurns

TURN_MAX_S = 0.002
# A request takes some ten turns of the loop: beside long work each of them waits for a part of it.
TURNS = 4


class Line:
    """Long work that waits to go on, of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting = TenantTurns()
        self._is_moving = False

    async def wait(self) -> None:
        """Return when others have had their turns, and all that is before the present task's work in the line."""
        turn = self._waiting.join(TENANT.get())
        if not self._is_moving:
            self._is_moving = True
            self._loop.call_soon(self._move, TURNS)
        await turn

    def _move(self, turns_left: int) -> None:
        if turns_left > 1:
            self._loop.call_soon(self._move, turns_left - 1)
            return
        self._waiting.give()
        self._is_moving = len(self._waiting) > 0
        if self._is_moving:
            self._loop.call_soon(self._move, TURNS)


# A process has one loop, and one line in it: layers that have nothing else in common wait there.
_lines: "WeakKeyDictionary[asyncio.AbstractEventLoop, Line]" = WeakKeyDictionary()


async def wait_turn() -> None:
    """Wait for a turn: before a part that takes long and cannot be divided."""
    loop = asyncio.get_running_loop()
    line = _lines.get(loop)
    if line is None:
        line = _lines[loop] = Line(loop)
    await line.wait()


class Pauses:
    """The pauses of one piece of work. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since_s = clock()

    async def take(self) -> None:
        """Let others have their turns, if none was for `TURN_MAX_S`. Call it after each part that takes less."""
        if self._clock() - self._since_s >= TURN_MAX_S:
            await wait_turn()
            self._since_s = self._clock()
