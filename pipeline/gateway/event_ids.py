"""Has this event id been accepted before? Answered without a database for what this process accepted itself.

An id that is not remembered is looked up in the archive (`id_lookups`). When the archive does not answer in time the
event is accepted: the matcher's own memory of ids is what keeps a repeated event from being matched twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from pipeline.core.log.recent_ids import RecentIds
from pipeline.gateway.id_lookups import Answer, EventKey, IdLookups, Lookup


class Claim(Enum):
    """The state of an event id for its claimant."""

    NEW = "ours until `settle`"
    REPEATED = "accepted before, for the same event as far as known"
    REUSED = "accepted before, for another event"


class Pending(NamedTuple):
    """An id that is being accepted. `done` resolves with: was it?"""

    done: "asyncio.Future[bool]"
    content: int


class EventIds:
    """The ids of accepted events, and of those that are being accepted, each with its event's fingerprint."""

    def __init__(
        self, look_up: Lookup, *, recent_max: int, timeout_s: float, gather_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        """`look_up`: which of these does the archive have? Within `timeout_s`, or they count as new.

        `gather_s`: how long ids are gathered for one question.
        """
        self._lookups = IdLookups(look_up, timeout_s=timeout_s, gather_s=gather_s)
        self._recent = RecentIds(recent_max)
        self._pending: dict[EventKey, Pending] = {}

    async def claim(self, key: EventKey, content: int) -> Claim:
        """`content`: the event's fingerprint. A claim that is NEW must be settled."""
        while (pending := self._pending.get(key)) is not None:
            # another request sends the same id at this moment: only if that fails it is ours
            if await asyncio.shield(pending.done):
                return _compare(pending.content, content)
        if key in self._recent:
            return _compare(self._recent.get(key), content)
        self._begin(key, content)
        try:
            return self._judge(key, content, await self._lookups.want(key))
        except BaseException:
            self.settle(key, accepted=False)
            raise

    async def claim_all(self, keys: Sequence[EventKey], contents: Sequence[int]) -> list[Claim]:
        """`claim` for many ids at once, in their order; of an id that is there twice only the first one is new."""
        accepted = await self._wait_for_others(keys)
        claims = [Claim.REPEATED] * len(keys)
        asked: list[tuple[int, asyncio.Future[Answer]]] = []
        again: list[int] = []  # the same id twice in this batch
        for index, (key, content) in enumerate(zip(keys, contents, strict=True)):
            if key in self._pending:
                again.append(index)
            elif key in accepted:
                claims[index] = _compare(accepted[key], content)
            elif key in self._recent:
                claims[index] = _compare(self._recent.get(key), content)
            else:
                self._begin(key, content)
                asked.append((index, self._lookups.want(key)))
        ours = {index for index, _ in asked}
        try:
            for index, future in asked:
                claims[index] = self._judge(keys[index], contents[index], await future)
                ours.difference_update(() if claims[index] is Claim.NEW else (index,))
        except BaseException:
            # ids left claimed would make every request that sends them wait for ever
            for index in ours:
                self.settle(keys[index], accepted=False)
            raise
        for index in again:
            first = keys.index(keys[index])
            known = contents[first] if claims[first] is Claim.NEW else self._recent.get(keys[index])
            claims[index] = _compare(known, contents[index])
        return claims

    async def _wait_for_others(self, keys: Sequence[EventKey]) -> dict[EventKey, int]:
        """Wait until other requests accept none of these ids; those that they did, with their events' fingerprints.

        None is claimed meanwhile: two batches with the same ids in another order would wait for each other, for ever.
        """
        accepted: dict[EventKey, int] = {}
        while others := {key: self._pending[key] for key in keys if key in self._pending}:
            await asyncio.wait([pending.done for pending in others.values()])
            accepted |= {key: pending.content for key, pending in others.items() if pending.done.result()}
        return accepted

    def settle(self, key: EventKey, *, accepted: bool) -> None:
        """End a claim that was NEW."""
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        if accepted:
            self._recent.add(key, pending.content)
        if not pending.done.done():
            pending.done.set_result(accepted)

    def find_content(self, key: EventKey) -> int | None:
        """The value remembered under a key; None: nothing, or not any more."""
        return self._recent.get(key)

    def remember(self, key: EventKey, content: int) -> None:
        """An event was accepted under an id that we made, so that it did not have to be claimed."""
        self._recent.add(key, content)

    def _begin(self, key: EventKey, content: int) -> None:
        self._pending[key] = Pending(asyncio.get_running_loop().create_future(), content)

    def _judge(self, key: EventKey, content: int, answer: Answer) -> Claim:
        """The claim's state by the archive's answer."""
        if not answer.is_known:
            return Claim.NEW
        if answer.content is not None:
            # others that wait for this id compare with the event that has it, not with ours
            self._recent.add(key, answer.content)
        self.settle(key, accepted=False)
        return _compare(answer.content, content)


def _compare(known: int | None, content: int) -> Claim:
    return Claim.REPEATED if known is None or known == content else Claim.REUSED
