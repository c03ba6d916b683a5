"""Where payloads are read from: the event's record in the log, or the archive once the log does not have it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.aside import Aside
from pipeline.config import KafkaConfig
from pipeline.core.events.records import Delivery, Event, expect
from pipeline.kafka.event_records import read_event
from pipeline.kafka.record import LogRecord, Place
from pipeline.postgres.archive.contents import read_contents
from pipeline.postgres.pool import DatabaseFailed, Pool
from pipeline.start_error import StartError
from pipeline.topics import Topic
from schemas import SchemaError

if TYPE_CHECKING:
    from pipeline.kafka.damage.batch_reader import BatchReader

SILENT_S = 5.0  # a partition that did not answer is not asked for so long: others wait behind it


class SourceAwayError(Exception):
    """A source cannot be asked at this time; later it may."""


class Beside(NamedTuple):
    """Another payload of the same fetch. `key`: the place of its event's record, as a claim check names it."""

    key: tuple[int, int]
    application_id: str
    payload: bytes


class PayloadSource(Protocol):
    """Reads payloads."""

    name: str

    async def read(self, delivery: Delivery) -> tuple[bytes | str, list[Beside]]:
        """The payload that a claim check names, or why it is not here; and others read with it.

        Raises `SourceAwayError`.
        """

    async def close(self) -> None:
        """Close its connections."""


class LogSource:
    """Reads the event's record again, aside: one after the other."""

    name = "log"

    def __init__(self, config: KafkaConfig, events: Topic, aside: Aside, *, beside_min_bytes: int) -> None:
        """`beside_min_bytes`: events with a larger payload that are in the same batch are handed out as well."""
        self._config = config
        self._topic = events.name
        self._beside_min_bytes = beside_min_bytes
        self._aside = aside
        self._reader: BatchReader | None = None
        self._silent_until_s: dict[Place, float] = {}

    async def read(self, delivery: Delivery) -> tuple[bytes | str, list[Beside]]:
        """See `PayloadSource`."""
        place, offset = (self._topic, delivery.payload_partition), delivery.payload_offset
        return await asyncio.wrap_future(self._aside.call(lambda: self._read(place, offset)))

    async def close(self) -> None:
        """Close the connections and the thread, behind a read that is under way."""
        self._aside.call(self._close_reader)
        self._aside.close()

    def _read(self, place: Place, offset: int) -> tuple[bytes | str, list[Beside]]:
        if time.monotonic() < self._silent_until_s.get(place, 0.0):
            raise SourceAwayError(f"{place[0]} [{place[1]}] did not answer a moment ago")
        if self._reader is None:
            from pipeline.kafka.damage.batch_reader import BatchReader  # aiokafka takes 0.3 s to import

            self._reader = BatchReader(self._config)
        try:
            found = self._reader.read(place, offset)
        except TimeoutError as error:
            self._silent_until_s[place] = time.monotonic() + SILENT_S
            raise SourceAwayError(str(error)) from error
        if isinstance(found, str):
            return found, []
        own: bytes | str = f"{place[0]} [{place[1]}] has no event at the offset {offset}"
        others = []
        for record in found:
            if record.offset != offset and len(record.value or b"") <= self._beside_min_bytes:
                continue
            event = self._parse(record)
            if event is not None and record.offset == offset:
                own = event.payload
            elif event is not None and len(event.payload) > self._beside_min_bytes:
                others.append(Beside((record.partition, record.offset), event.application_id, event.payload))
        return own, others

    def _parse(self, record: LogRecord) -> Event | None:
        with suppress(SchemaError):  # the gateway's, which needs no other look: a payload of 400 KB would take 0.7 ms
            return expect(Event, record.value or b"")
        parsed = read_event(record)
        return parsed if isinstance(parsed, Event) else None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()


class ArchiveSource:
    """Asks PostgreSQL. Connects with the first question: deliver needs no database otherwise."""

    name = "archive"

    def __init__(self, connect: Callable[[], Awaitable[Pool]]) -> None:
        self._connect = connect
        self._pool: Pool | None = None
        self._connecting = asyncio.Lock()

    async def read(self, delivery: Delivery) -> tuple[bytes | str, list[Beside]]:
        """See `PayloadSource`."""
        try:
            async with self._connecting:
                self._pool = self._pool or await self._connect()
            pairs = [(delivery.application_id, delivery.event_id)]
            found = [content.payload async for content in read_contents(self._pool, pairs)]
        except (*DatabaseFailed, StartError, TimeoutError) as error:
            raise SourceAwayError(f"the archive cannot be asked: {error}") from error
        return (found[0] if found else "the archive does not have the event"), []

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()
