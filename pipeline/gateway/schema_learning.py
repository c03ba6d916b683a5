"""Schemas that records need are learned beside the reading: an answer that takes long holds up what needs it alone."""

import asyncio
import time

from pipeline.gateway.schema_registry import SchemaRegistry
from pipeline.supervisor import take_notice

# Of one batch, for all schemas that the records of one application need: some of them may be made up, each by another
# number, and the registry slow to say so.
TURN_S = 0.1


class SchemaTurns:
    """The time that each application may still take, of one batch."""

    def __init__(self) -> None:
        self._spent_s: dict[str, float] = {}

    def left_s(self, application_id: str) -> float:
        return max(0.0, TURN_S - self._spent_s.get(application_id, 0.0))

    def spend(self, application_id: str, spent_s: float) -> None:
        self._spent_s[application_id] = self._spent_s.get(application_id, 0.0) + spent_s


class SchemaLearning:
    """Asks the registry once at a time for each schema."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def learn(self, schema_id: int, application_id: str, turns: SchemaTurns) -> bool:
        """Is the schema learned, or known to be missing? False: not within the application's turn; it is asked for on.

        Raises `RegistryUnavailableError`.
        """
        if self._registry.is_settled(schema_id):
            return True
        asking = self._under_way.get(schema_id)
        if asking is None:
            asking = self._under_way[schema_id] = asyncio.create_task(self._registry.learn(schema_id))
            asking.add_done_callback(lambda done: self._end(schema_id, done))
        began_s = time.monotonic()
        await asyncio.wait([asking], timeout=turns.left_s(application_id))
        turns.spend(application_id, time.monotonic() - began_s)
        if not asking.done():
            return False
        asking.result()
        return True

    def _end(self, schema_id: int, done: "asyncio.Task[None]") -> None:
        del self._under_way[schema_id]
        take_notice(done)
