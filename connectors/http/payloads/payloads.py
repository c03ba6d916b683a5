"""Payloads that claim checks name (`core/events/claim_check.py`), shared by all deliveries of an event.

Looked for in the spool, then in the log, then in the archive; whatever comes from there must have the checksum that the
delivery says, or it counts as not found.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from connectors.http.payloads.sources import Beside, PayloadSource, SourceAwayError
from connectors.http.payloads.spool import Spool, Spooled
from pipeline.aside import Aside
from pipeline.core.events.claim_check import Payload
from pipeline.core.events.records import Delivery
from pipeline.core.log.checksum import fits
from pipeline.metrics import Metrics
from pipeline.supervisor import take_notice

SPOOL_WRITE_S = 2.0  # most take less than a millisecond

Key = tuple[int, int]  # partition and offset of the event's record
# The same place holds another event once its topic was made again: what is read for one must not be another one's.
Wanted = tuple[Key, int | None]  # with the checksum of the content

log = structlog.get_logger()


class PayloadAwayError(Exception):
    """The payload cannot be read at this time; later it may."""


class PayloadMissingError(Exception):
    """No source has the payload. `reason`: of a dead letter."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SpoolFullError(Exception):
    """The application uses its share of the spool, or others use all of it."""


@dataclass(slots=True)
class Turn:
    """The turn of one application: it reads one payload at a time, so that others have theirs."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Payloads:
    """Finds payloads by the sources that it is given, in their order."""

    def __init__(self, sources: Sequence[PayloadSource], spool: Spool, aside: Aside, metrics: Metrics) -> None:
        """`aside`: for writing to the spool, and nothing else: a disk may hang."""
        self._sources = sources
        self._spool = spool
        self._metrics = metrics
        self._aside = aside
        self._loading: dict[Wanted, asyncio.Task[Spooled]] = {}
        self._turns: dict[str, Turn] = {}
        self._is_disk_hanging = False

    @asynccontextmanager
    async def hold(self, delivery: Delivery) -> AsyncIterator[Payload]:
        """The payload of a claim check, as long as its request is open.

        Raises `PayloadAwayError`, `PayloadMissingError` and `SpoolFullError`.
        """
        spooled = await self._find(delivery)
        self._spool.begin(spooled)
        self._metrics.spool_used_bytes.set(self._spool.used_bytes)
        try:
            yield spooled.payload
        finally:
            self._spool.end(spooled)
            self._metrics.spool_used_bytes.set(self._spool.used_bytes)

    async def close(self) -> None:
        """Close the sources, and give the spool back."""
        for source in self._sources:
            await source.close()
        self._aside.close()
        self._spool.close()

    async def _find(self, delivery: Delivery) -> Spooled:
        key = (delivery.payload_partition, delivery.payload_offset)
        spooled = self._look_up(key, delivery)
        if spooled is not None:
            self._metrics.payloads_read_total.labels("spool").inc()
        else:
            self._check_share(delivery)
            spooled = await self._load_together(key, delivery)
        if not spooled.users:
            self._check_share(delivery)
        return spooled

    def _look_up(self, key: Key, delivery: Delivery) -> Spooled | None:
        """The payload in the spool. One that a disk has altered is dropped."""
        spooled = self._spool.find(key)
        if spooled is None or fits(delivery, spooled.payload):
            return spooled
        log.error("spool_altered", event_id=delivery.event_id, size_bytes=spooled.size)
        self._spool.drop(key)
        return None

    def _check_share(self, delivery: Delivery) -> None:
        if not self._spool.admits(delivery.application_id, delivery.payload_bytes):
            raise SpoolFullError

    async def _load_together(self, key: Key, delivery: Delivery) -> Spooled:
        """Load once for all deliveries that want it now; again if it was dropped before this one came to it."""
        wanted = (key, delivery.content_crc32)
        while True:
            loading = self._loading.get(wanted)
            if loading is None:
                loading = self._loading[wanted] = asyncio.create_task(self._load(wanted, delivery))
                loading.add_done_callback(take_notice)
            spooled = await asyncio.shield(loading)
            if not spooled.is_dropped:
                return spooled

    async def _load(self, wanted: Wanted, delivery: Delivery) -> Spooled:
        key, _ = wanted
        turn = self._turns.setdefault(delivery.application_id, Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                # read with another one meanwhile?
                return self._look_up(key, delivery) or await self._read(key, delivery)
        finally:
            del self._loading[wanted]
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[delivery.application_id]

    async def _read(self, key: Key, delivery: Delivery) -> Spooled:
        problems, away, is_altered = [], None, False
        for source in self._sources:
            try:
                found, others = await source.read(delivery)
            except SourceAwayError as error:
                away = error
                continue
            if isinstance(found, str):
                problems.append(found)
            elif not fits(delivery, found):
                is_altered = True
                problems.append(f"what the {source.name} has is not what was accepted")
            else:
                self._metrics.payloads_read_total.labels(source.name).inc()
                for other in others:
                    await self._keep_beside(other)
                return await self._keep(key, delivery.application_id, found)
        if away is not None:
            raise PayloadAwayError(str(away))
        detail = f"the payload of {delivery.payload_bytes} bytes is nowhere: {'; '.join(problems)}"
        if is_altered:
            raise PayloadMissingError("corrupt", detail)
        raise PayloadMissingError("payload_gone", detail)

    async def _keep_beside(self, other: Beside) -> None:
        """Keep what came along, where there is room that nothing else takes."""
        if self._spool.find(other.key) is None:
            at = self._spool.reserve(len(other.payload), may_evict=False)
            if at is not None:
                await self._write(other.key, other.application_id, other.payload, at)

    async def _keep(self, key: Key, application_id: str, payload: bytes) -> Spooled:
        at = self._spool.reserve(len(payload), may_evict=True)
        if at is None:
            return self._spool.add(key, application_id, payload, None)
        return await self._write(key, application_id, payload, at)

    async def _write(self, key: Key, application_id: str, payload: bytes, at: int) -> Spooled:
        """Write to a reserved place; where that fails, or takes too long, the payload is kept in memory."""
        if self._is_disk_hanging:
            self._spool.release(at, len(payload))
            return self._spool.add(key, application_id, payload, None)
        writing = asyncio.wrap_future(self._aside.call(lambda: self._spool.write(at, payload)))
        try:
            mapped = await asyncio.wait_for(asyncio.shield(writing), SPOOL_WRITE_S)
        except TimeoutError:
            log.warning("spool_hangs", waited_s=SPOOL_WRITE_S)
            self._is_disk_hanging = True
            # until then it may still be written to
            writing.add_done_callback(lambda _: self._end_hanging(at, len(payload)))
        except BaseException:
            writing.add_done_callback(lambda _: self._spool.release(at, len(payload)))
            raise
        else:
            if mapped is not None:
                return self._spool.add(key, application_id, mapped, at)
            self._spool.release(at, len(payload))
        return self._spool.add(key, application_id, payload, None)

    def _end_hanging(self, at: int, size: int) -> None:
        self._is_disk_hanging = False
        self._spool.release(at, size)
