"""A timer for the producer's steps."""

import asyncio
from collections.abc import Callable


class StepTimer:
    """Plans the producer's next step; at most one is planned."""

    def __init__(self, loop: asyncio.AbstractEventLoop, step: Callable[[], None]) -> None:
        self._loop = loop
        self._step = step
        self._handle: asyncio.Handle | None = None
        self.is_holding = False  # the planned step is only for records that linger

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set_soon(self, wait_s: float) -> None:
        """Plan the step in `wait_s` seconds; 0: in the loop's next turn. An earlier plan is void."""
        self.cancel()
        self._handle = self._loop.call_later(wait_s, self._take) if wait_s else self._loop.call_soon(self._take)

    def set_at(self, at_s: float, *, is_holding: bool) -> None:
        """Set the next step to this time of the loop's clock; an earlier setting is void."""
        self.cancel()
        self.is_holding = is_holding
        self._handle = self._loop.call_at(at_s, self._take)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self.is_holding = None, False

    def _take(self) -> None:
        self._handle, self.is_holding = None, False
        self._step()
