"""A log that a test answers for: every write waits until the test says what became of it."""

import asyncio
from collections.abc import Sequence

from pipeline.kafka.failures import KafkaUnavailableError, ToSend
from pipeline.kafka.probes import PROBE_KEY
from pipeline.kafka.producer import Placement
from pipeline.topics import Topic


class ScriptedLog:
    """Takes writes like a producer. `writes`: those that were handed over, oldest first."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[ToSend], asyncio.Future[Placement]]] = []
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        written: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        self.writes.append((list(records), written))
        self._open += len(records)
        written.add_done_callback(lambda _: self._settle(len(records)))
        return written

    async def send_patiently(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        return self.send_bytes(records)

    async def take(self) -> list[ToSend]:
        """Acknowledge the oldest write that waits; what it was."""
        records, written = await self.next_write()
        written.set_result(Placement(0, len(self.writes)))
        await asyncio.sleep(0)
        return records

    async def take_probes(self) -> set[Topic]:
        """Acknowledge probes until another record is written; their topics."""
        topics: set[Topic] = set()
        while ((written := (await self.next_write())[0][0])[1] or b"").startswith(PROBE_KEY):
            topics.add(written[0])
            await self.take()
        return topics

    async def refuse(self, error: KafkaUnavailableError, *, of: Sequence[int] | None = None) -> list[ToSend]:
        """Refuse the oldest write that waits, or some of its records; what it was."""
        records, written = await self.next_write()
        error.failed = [(records[index], error) for index in (of if of is not None else range(len(records)))]
        written.set_exception(error)
        await asyncio.sleep(0)
        return records

    async def next_write(self) -> tuple[list[ToSend], "asyncio.Future[Placement]"]:
        async with asyncio.timeout(30):
            while True:
                for records, written in self.writes:
                    if not written.done():
                        return records, written
                await asyncio.sleep(0)

    def _settle(self, records: int) -> None:
        self._open -= records
