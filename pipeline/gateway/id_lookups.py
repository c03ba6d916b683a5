"""Questions to the archive about event ids, many ids with one query. No request waits for an archive that is silent.

Each event would wait for as long as the archive may take: while PostgreSQL is away, or a lock is on a day's events, a
client that sends one event after the other got two a second accepted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

EventKey = tuple[str, str]  # application id, event id
Known = dict[EventKey, int | None]  # ids that the archive has, with their events' fingerprints; None: not read
Lookup = Callable[[Sequence[EventKey]], Awaitable[Known]]

LOOKUP_MAX_IDS = 1000
# One answer that does not come is a slow one.
SILENT_AFTER = 2
ASK_AGAIN_S = 0.25
log = structlog.get_logger()


class Answer(NamedTuple):
    """The archive's answer about one id."""

    is_known: bool
    content: int | None


UNKNOWN = Answer(is_known=False, content=None)


class IdLookups:
    """Asks which ids the archive has. Within `timeout_s`, or they count as new."""

    def __init__(self, look_up: Lookup, *, timeout_s: float, gather_s: Callable[[], float]) -> None:
        """`gather_s`: how long ids are gathered for one question."""
        self._look_up = look_up
        self._timeout_s = timeout_s
        self._gather_s = gather_s
        self._wanted: dict[EventKey, asyncio.Future[Answer]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._failures = 0  # one after the other
        self._waiting: asyncio.Task[None] | None = None  # for an archive that is silent

    def want(self, key: EventKey) -> "asyncio.Future[Answer]":
        """Ask for an id, together with others."""
        if self._waiting is not None:
            unanswered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            unanswered.set_result(UNKNOWN)
            return unanswered
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return future

    async def _ask(self) -> None:
        """One query at a time; ids that arrive meanwhile go into the next one."""
        while self._wanted:
            gather_s = self._gather_s()
            if gather_s:
                await asyncio.sleep(gather_s)
            keys = list(self._wanted)[:LOOKUP_MAX_IDS]
            batch = {key: self._wanted.pop(key) for key in keys}
            known = await self._try(keys)
            _answer(batch, known or {})
            if known is None and self._failures >= SILENT_AFTER and self._waiting is None:
                self._waiting = asyncio.create_task(self._wait(keys[:1]))
                _answer(self._wanted, {})
                self._wanted.clear()

    async def _try(self, keys: Sequence[EventKey]) -> Known | None:
        """The archive's answer, or None."""
        try:
            async with asyncio.timeout(self._timeout_s):
                known = await self._look_up(keys)
        except Exception as error:  # whatever the database says: accepting is what matters, the matcher looks again
            self._failures += 1
            if self._waiting is None:
                reason = f"{type(error).__name__}: {error}"
                log.warning("event_ids_not_looked_up", ids=len(keys), reason=reason)
            return None
        self._failures = 0
        return known

    async def _wait(self, keys: Sequence[EventKey]) -> None:
        """Ask until the archive answers again."""
        while await self._try(keys) is None:  # noqa: ASYNC110 - the archive does not say that it is back
            await asyncio.sleep(ASK_AGAIN_S)
        self._waiting = None
        log.info("event_ids_looked_up_again")


def _answer(asked: Mapping[EventKey, "asyncio.Future[Answer]"], known: Known) -> None:
    for key, future in asked.items():
        if not future.done():
            future.set_result(Answer(is_known=True, content=known[key]) if key in known else UNKNOWN)
