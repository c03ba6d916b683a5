"""Tasks that wait for something they share, of tenants that take turns: many tasks of one tenant have one turn in each.

What they wait for, and how much of it a tenant may have, is known where they wait.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

Turn = asyncio.Future[None]


class TenantTurns:
    """The tasks that wait. Each awaits its `Turn`."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Turn]] = OrderedDict()  # tenants in turn

    def __len__(self) -> int:
        """Tasks that wait."""
        return sum(map(len, self._waiting.values()))

    def __contains__(self, tenant: str) -> bool:
        """Does a task of the tenant wait?"""
        return tenant in self._waiting

    def join(self, tenant: str) -> Turn:
        """A turn, behind the others of the tenant."""
        turn: Turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        return turn

    def leave(self, tenant: str, turn: Turn) -> bool:
        """Wait no longer. False: the turn came at the last moment, and is another's to have."""
        if turn.done() and not turn.cancelled():
            return False
        turns = self._waiting.get(tenant, deque())
        if turn in turns:  # else it was passed over
            turns.remove(turn)
            if not turns:
                del self._waiting[tenant]
        return True

    def give(self, may_have: Callable[[str], bool] = lambda _: True) -> str | None:
        """Let a task go on: the first of the first tenant that may have a turn. The tenant, which is the last one then.

        None: no task may go on.
        """
        while (tenant := next(filter(may_have, self._waiting), None)) is not None:
            turns = self._waiting[tenant]
            turn = turns.popleft()
            is_given = not turn.done()  # else it was cancelled
            if not turns:
                del self._waiting[tenant]
            elif is_given:
                self._waiting.move_to_end(tenant)
            if is_given:
                turn.set_result(None)
                return tenant
        return None
