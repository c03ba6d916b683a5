"""One stream of the generator: due events, the connection each goes on, and its outcome."""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from urllib.parse import urlsplit

import msgspec

from bench.instruments.client import ClientConnection, ReadingConnection
from bench.instruments.fine_timer import FineTimer
from bench.instruments.journal import SENT, open_columns
from bench.instruments.plan import StreamPlan
from bench.instruments.request import RequestWriter
from bench.instruments.schedule import Schedule
from pipeline.clock import wall_us

ACCEPTED = 201
BATCH_ANSWERED = 200
TIMES = ("intended", "sent", "answered")
RECONNECT_AFTER_S = 0.05


class BatchResult(msgspec.Struct):
    """The gateway's answer to one event of a batch."""

    status: int


class BatchAnswer(msgspec.Struct):
    """The answer to a batch."""

    results: list[BatchResult]


_decode_batch = msgspec.json.Decoder(BatchAnswer).decode


class Stream:
    """Sends one stream. `columns`: a row a request, in the order of their numbers."""

    def __init__(self, plan: StreamPlan, writer: RequestWriter, *, apis: Sequence[str], timer: FineTimer) -> None:
        self._plan = plan
        self._writer = writer
        self._places = cycle([urlsplit(api) for api in apis])
        self._schedule = Schedule(plan.pace, batch=plan.batch)
        self._is_closed_loop = plan.pace.rate_per_s is None
        # in turn, so that none is idle for so long that the gateway closes it
        self._idle: deque[ClientConnection] = deque()
        self._due = 0
        self._timer = timer
        self._is_set = False  # the alarm
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._batch = plan.batch
        self.columns = columns = open_columns(SENT)
        self._intended_us, self._sent_us, self._answered_us = (columns[f"{name}_us"] for name in TIMES)
        self._accepted, self._status = columns["accepted"], columns["status"]
        self.refused: list[int] = []  # numbers of events in batches that were accepted in part
        self.sent = self.answered = self.accepted = self.failed = 0

    async def connect(self) -> None:
        """Open all connections. Raises OSError."""
        await asyncio.gather(*(self._connect() for _ in range(self._plan.connections)))

    def start(self, at_us: int) -> None:
        """Begin at this time."""
        self._schedule.start(at_us)
        self._timer.set(self._wake, at_us)

    def stop(self) -> None:
        """Send events due by now, and nothing more."""
        self._schedule.stop(_now_us())
        self._pump()

    def allow(self, events: int) -> None:
        """Set the total number of events."""
        self._schedule.allow(events // self._batch)
        self._pump()

    @property
    def is_at_rest(self) -> bool:
        """Has all that is due been answered?"""
        return self.answered == self.sent >= self._due

    @property
    def due_events(self) -> int:
        return self._due * self._batch

    @property
    def sent_events(self) -> int:
        return self.sent * self._batch

    async def close(self) -> None:
        """Close all connections; open requests stay without an answer."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._idle:
            connection.close()

    def _pump(self) -> None:
        """Send due events, and wake up for the next one."""
        now_us, schedule = _now_us(), self._schedule
        while True:
            self._due = schedule.count_due(now_us, self.sent)
            if self.sent >= self._due or (connection := self._take_idle()) is None:
                break
            self._send(connection, now_us)
            if not self._idle and self._is_closed_loop:
                return
        if not self._is_set and (next_us := self._schedule.next_us(self._due)) is not None:
            self._is_set = True
            self._timer.set(self._wake, next_us)

    def _wake(self) -> None:
        self._is_set = False
        self._pump()

    def _take_idle(self) -> ClientConnection | None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open:
                return connection
            self._replace()
        return None

    def _send(self, connection: ClientConnection, now_us: int) -> None:
        request = self.sent
        intended_us = self._schedule.intended_us(request, now_us)
        data = self._writer.write(request * self._batch, intended_us)
        self._intended_us.append(intended_us)
        self._sent_us.append(now_us)
        self._answered_us.append(0)
        self._accepted.append(0)
        self._status.append(0)
        self.sent += 1
        connection.send(request, data)

    def _on_answer(self, connection: ClientConnection, status: int, body: bytes) -> None:
        request, batch = connection.request, self._batch
        self._answered_us[request] = _now_us()
        self._status[request] = status
        accepted = batch if status == ACCEPTED else 0
        if status == BATCH_ANSWERED and batch > 1:
            accepted = self._read_batch(request, body)
        self._accepted[request] = accepted
        self.answered += 1
        self.accepted += accepted
        self.failed += batch - accepted
        if connection.is_open:
            self._idle.append(connection)
        else:
            self._replace()
        if self._is_closed_loop or self.sent < self._due:
            self._pump()

    def _read_batch(self, request: int, body: bytes) -> int:
        statuses = [result.status for result in _decode_batch(body).results]
        first = request * self._batch
        refused = [first + index for index, status in enumerate(statuses) if status != ACCEPTED]
        self.refused += refused
        return len(statuses) - len(refused)

    def _replace(self) -> None:
        """Open a connection in place of one that is gone."""
        if not self._is_closing:
            task = self._loop.create_task(self._reconnect())
            self._tasks.add(task)
            task.add_done_callback(self._end_reconnecting)

    def _end_reconnecting(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # the generator ends: with a connection less, the load would be another one
            self._loop.call_exception_handler({"message": "reconnecting failed", "exception": error})

    async def _reconnect(self) -> None:
        while not self._is_closing:
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(RECONNECT_AFTER_S)
            else:
                self._pump()
                return

    async def _connect(self) -> None:
        def make() -> ClientConnection:
            kind = ReadingConnection if self._batch > 1 else ClientConnection
            return kind(self._on_answer)

        place = next(self._places)
        is_tls = place.scheme == "https"
        _, connection = await self._loop.create_connection(
            make,
            place.hostname or "",
            place.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
        )
        self._idle.append(connection)


def _now_us() -> int:
    return wall_us()
