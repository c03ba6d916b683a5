"""The rights of service tokens and users' sessions. They are not in the log, so PostgreSQL is asked.

An answer is believed for less than a second, so that a revoked token fails at every gateway within one. While
PostgreSQL is away nothing can be revoked either: tokens that were valid before go on working until it answers again, or
until they expire.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pipeline.core.rights import Grant
from pipeline.postgres.pool import DatabaseFailed

BELIEVED_S = 0.5
ANSWER_TIMEOUT_S = 0.3  # for a token that was valid before; after it PostgreSQL counts as away
KNOWN_MAX = 10_000

FindGrant = Callable[[bytes], Awaitable[Grant | None]]


@dataclass(frozen=True, slots=True)
class Known:
    """An answer: `grant` None means there is no such valid token."""

    grant: Grant | None
    asked_at_s: float


class TokenGrants:
    """Answers by the hash of a token. `find`: asks PostgreSQL and raises `DatabaseUnavailable`."""

    def __init__(self, find: FindGrant, *, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock`: seconds, monotonic; `wall_clock`: seconds since the epoch."""
        self._find = find
        self._clock = clock
        self._wall_clock = wall_clock
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Known]] = {}

    def find_at_once(self, token_hash: bytes) -> Known | None:
        """The answer of a moment ago; None: the database must be asked."""
        known = self._known.get(token_hash)
        return known if known is not None and self._clock() - known.asked_at_s < BELIEVED_S else None

    async def find_grant(self, token_hash: bytes) -> Grant | None:
        """The rights of the token; None when it is not valid. Raises `DatabaseUnavailable` when that is unknown."""
        fresh = self.find_at_once(token_hash)
        if fresh is not None:
            return self._unless_expired(fresh.grant)
        known = self._known.get(token_hash)
        before = known.grant if known is not None else None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S if before is not None else None):
                return self._unless_expired(await self._ask(token_hash))
        except (*DatabaseFailed, TimeoutError):
            if before is None:
                raise
            return self._unless_expired(before)

    def forget(self, token_hash: bytes) -> None:
        """Forget a token that was changed here: the next request asks again, even while an earlier question is open."""
        self._known.pop(token_hash, None)
        self._asking.pop(token_hash, None)

    def _unless_expired(self, grant: Grant | None) -> Grant | None:
        return grant if grant is not None and self._wall_clock() < grant.expires_at_s else None

    async def _ask(self, token_hash: bytes) -> Grant | None:
        # all requests of one moment share one question
        asking = self._asking.get(token_hash)
        if asking is None:
            asking = self._asking[token_hash] = asyncio.create_task(self._ask_database(token_hash))
            asking.add_done_callback(lambda done: self._note(token_hash, done))
        return (await asyncio.shield(asking)).grant

    async def _ask_database(self, token_hash: bytes) -> Known:
        asked_at_s = self._clock()  # before the answer: it is believed from when the question was asked
        return Known(await self._find(token_hash), asked_at_s)

    def _note(self, token_hash: bytes, done: "asyncio.Task[Known]") -> None:
        is_current = self._asking.get(token_hash) is done
        if is_current:
            del self._asking[token_hash]
        # looked at here, or asyncio complains when every request has gone meanwhile
        if done.cancelled() or done.exception() is not None or not is_current:
            return
        self._known[token_hash] = done.result()
        self._known.move_to_end(token_hash)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
