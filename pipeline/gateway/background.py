"""Background work of a gateway that asks PostgreSQL. What PostgreSQL refuses does not end the gateway.

A table, a column or a right that an operator has taken away, or a constraint of theirs, concerns the work that meets
it. Events are accepted without PostgreSQL, at any gateway: ended by the refusal, none of them would accept anything.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from pipeline.postgres.pool import DatabaseRefused, RowRefused
from pipeline.supervisor import Supervisor

AGAIN_AFTER_S = 5.0
# The work is begun again, and may be refused at its next round: a refusal counts until there was time for that.
SHOWN_FOR_S = 4 * AGAIN_AFTER_S

log = structlog.get_logger()


class Background:
    """Starts work, and begins it again when PostgreSQL has refused it. `clock`: seconds, monotonic."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        again_after_s: float = AGAIN_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisor = supervisor
        self._again_after_s = again_after_s
        self._clock = clock
        self._refused: dict[str, tuple[float, str]] = {}  # when, and why

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `run()` in the background until it ends. Whatever else it raises ends the process."""
        self._supervisor.start(name, self._keep_running(name, run))

    def check(self) -> str | None:
        """Health: None, or which work is refused."""
        shown = [f"{name}: {reason}" for name, reason in self._list_refused().items()]
        return f"PostgreSQL refuses what background work asks: {'; '.join(shown)}" if shown else None

    def _list_refused(self) -> dict[str, str]:
        since_s = self._clock() - SHOWN_FOR_S
        return {name: reason for name, (at_s, reason) in self._refused.items() if at_s > since_s}

    async def _keep_running(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                return await run()
            except (*DatabaseRefused, *RowRefused) as error:
                reason = str(error).strip().partition("\n")[0]
                if self._list_refused().get(name) != reason:
                    log.error("background_work_refused", work=name, reason=reason)
                self._refused[name] = (self._clock(), reason)
            await asyncio.sleep(self._again_after_s)
