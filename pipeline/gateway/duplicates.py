"""Has this event id been accepted before? Answered without a database for what this process accepted itself.

An id that is not remembered is looked up in the archive, many requests with one query. When the archive does not answer
in time the event is accepted: the matcher's own memory of ids is what keeps a repeated event from being matched twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from pipeline.core.recent import RecentIds

LOOKUP_MAX_IDS = 1000

EventKey = tuple[str, str]  # application id, event id
Lookup = Callable[[Sequence[EventKey]], Awaitable[set[EventKey]]]
log = structlog.get_logger()


class EventIds:
    """The ids of accepted events, and of those that are being accepted."""

    def __init__(self, look_up: Lookup, *, recent_max: int, timeout_s: float) -> None:
        """`look_up`: which of these does the archive have?"""
        self._look_up = look_up
        self._timeout_s = timeout_s
        self._recent = RecentIds(recent_max)
        self._pending: dict[EventKey, asyncio.Future[bool]] = {}  # resolves with: was it accepted?
        self._wanted: dict[EventKey, asyncio.Future[bool]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def claim(self, key: EventKey) -> bool:
        """True: the id is new, and ours until `settle`. False: it was accepted before."""
        while (pending := self._pending.get(key)) is not None:
            # somebody sends the same id at this moment: only if that fails it is ours
            if await asyncio.shield(pending):
                return False
        if key in self._recent:
            return False
        self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            is_known = await self._want(key)
        except BaseException:
            self.settle(key, accepted=False)
            raise
        if is_known:
            self.settle(key, accepted=True)
            return False
        return True

    async def claim_all(self, keys: Sequence[EventKey]) -> list[bool]:
        """`claim` for many ids at once, in their order; of an id that is there twice only the first one is new."""
        claimed = [False] * len(keys)
        asked: list[tuple[int, asyncio.Future[bool]]] = []
        later: list[int] = []
        for index, key in enumerate(keys):
            if key in self._pending:
                later.append(index)
            elif key not in self._recent:
                self._pending[key] = asyncio.get_running_loop().create_future()
                asked.append((index, self._want(key)))
        for index, future in asked:
            is_known = await future
            if is_known:
                self.settle(keys[index], accepted=True)
            claimed[index] = not is_known
        for index in later:
            # twice in one batch: waiting for the first one would be waiting for ourselves
            if keys.index(keys[index]) == index:
                claimed[index] = await self.claim(keys[index])
        return claimed

    def settle(self, key: EventKey, *, accepted: bool) -> None:
        """What became of a claimed id."""
        if accepted:
            self._recent.add(key)
        pending = self._pending.pop(key, None)
        if pending is not None and not pending.done():
            pending.set_result(accepted)

    def _want(self, key: EventKey) -> "asyncio.Future[bool]":
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_archive())
        return future

    async def _ask_archive(self) -> None:
        """One query at a time; what is asked for meanwhile is in the next one."""
        while self._wanted:
            keys = list(self._wanted)[:LOOKUP_MAX_IDS]
            batch = {key: self._wanted.pop(key) for key in keys}
            known: set[EventKey] = set()
            try:
                async with asyncio.timeout(self._timeout_s):
                    known = await self._look_up(keys)
            except Exception as error:  # whatever the database says: accepting is what matters, the matcher looks again
                log.warning("event_ids_not_looked_up", ids=len(keys), reason=f"{type(error).__name__}: {error}")
            for key, future in batch.items():
                if not future.done():
                    future.set_result(key in known)
