"""Room that tenants share: a tenant may have as much as is still free.

So one that sends more than Kafka takes, or many large bodies, has its own requests refused or held back, and not those
of others.
"""

import asyncio

from pipeline.tenant_turns import TenantTurns


class SharedRoom:
    """The room for one kind of thing. `maxima`: its measures, such as number and bytes, in the order of all amounts.

    Amounts are looked at once they are taken: the last thing may go beyond a share.
    """

    def __init__(self, *maxima: int) -> None:
        self._free = maxima
        self._nothing = (0,) * len(maxima)
        self._taken: dict[str, tuple[int, ...]] = {}
        self._waiting = TenantTurns()

    def has_room(self, tenant: str) -> bool:
        """May the tenant have one more?"""
        taken = self._taken.get(tenant, self._nothing)
        return all(has < free for has, free in zip(taken, self._free, strict=True))

    def take(self, tenant: str, *amounts: int) -> None:
        """Take room, whether or not there is some."""
        self._count(tenant, amounts, 1)

    async def take_in_turn(self, tenant: str, *amounts: int, timeout_s: float) -> None:
        """Take room once the tenant may have more, in the order of its requests. Raises `TimeoutError`."""
        if not self.has_room(tenant) or tenant in self._waiting:
            await self._wait(tenant, timeout_s)
        self.take(tenant, *amounts)
        self._wake()  # there may be room for the next one as well

    def give_back(self, tenant: str, *amounts: int) -> None:
        """Give back what was taken."""
        self._count(tenant, amounts, -1)
        self._wake()

    async def _wait(self, tenant: str, timeout_s: float) -> None:
        turn = self._waiting.join(tenant)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException:
            if not self._waiting.leave(tenant, turn):
                self._wake()
            raise

    def _wake(self) -> None:
        """Let one that has room go on. Once that took its room, it wakes the next one."""
        self._waiting.give(self.has_room)

    def _count(self, tenant: str, amounts: tuple[int, ...], sign: int) -> None:
        taken = self._taken.get(tenant, self._nothing)
        taken = tuple(has + sign * amount for has, amount in zip(taken, amounts, strict=True))
        self._free = tuple(free - sign * amount for free, amount in zip(self._free, amounts, strict=True))
        if any(taken):
            self._taken[tenant] = taken
        else:
            self._taken.pop(tenant, None)
