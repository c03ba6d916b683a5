"""Writing records and awaiting the brokers' acknowledgement, from an asyncio loop.

Everything happens in steps on the loop: records sent since the last step are handed to the client in one go, and
acknowledgements are collected. The first record goes out at once, those behind it in batches, a pace apart (`writing/
pace.py`). A thread that waits for acknowledgements would be woken for each, and take the interpreter away from the loop
every time: a seventh of a busy gateway's CPU. Records of a topic that lingers are held here until the oldest of them
has waited long enough, longer where processors are short.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaException

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Record, to_bytes
from pipeline.core.trace_context import TraceHeaders
from pipeline.kafka.failures import KafkaUnavailableError, RecordRefusedError, TopicRefusedError, ToSend, trace
from pipeline.kafka.log_clock import LogClock
from pipeline.kafka.options import producer_options
from pipeline.kafka.writing.pace import PACE_MAX_S, PACE_MIN_S, StepPace
from pipeline.kafka.writing.sending import Sending
from pipeline.kafka.writing.step_timer import StepTimer
from pipeline.kafka.writing.unacknowledged import Placement, Unacknowledged
from pipeline.metrics import Metrics
from pipeline.pressure import Pressure
from pipeline.topics import Topic

# between looks for room in a full buffer: an acknowledgement makes room, and takes about as long
FULL_POLL_S = 0.005
WARM_UP_TIMEOUT_S = 10.0

__all__ = [
    "KafkaUnavailableError",
    "LogProducer",
    "Placement",
    "RecordRefusedError",
    "ToSend",
    "TopicRefusedError",
]


class LogProducer:
    """An idempotent producer, for the loop on which it is made; `close` flushes."""

    def __init__(
        self,
        config: KafkaConfig,
        metrics: Metrics,
        *,
        linger_ms: float = 0,
        timeout_s: float | None = None,
        pace_min_s: float = PACE_MIN_S,
        pace_max_s: float = PACE_MAX_S,
        clock: LogClock | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """`timeout_s`: of a record's acknowledgement; None: the setting. `pace_min_s`: between looks for them.

        `pace_max_s`: between batches, where processors are short, by `pressure`; None: nothing but acknowledgements
        decides.
        """
        options = producer_options(config, linger_ms=linger_ms, timeout_s=timeout_s or config.produce_timeout_s)
        self._loop = asyncio.get_running_loop()
        self._pace = StepPace(pace_min_s, pace_max_s, pressure)
        self._sending = Sending(options, metrics, self._pace, clock)
        self._timer = StepTimer(self._loop, self._step)
        self._outbox: list[tuple[Unacknowledged, Sequence[ToSend]]] = []
        self._outbox_records = 0
        self._held: deque[tuple[Unacknowledged, ToSend]] = deque()  # of topics that linger
        self._held_until_s = math.inf
        self.acknowledged = self._sending.acknowledged

    def __len__(self) -> int:
        """Records not acknowledged yet."""
        return self._outbox_records + len(self._held) + len(self._sending.clients)

    @property
    def pace_s(self) -> float:
        """The time between batches that suits Kafka now; the matcher reads in the same pace."""
        return self._pace.pace_s

    def check(self) -> str | None:
        """Health: None, or which topics take no records, and why."""
        return self._sending.refusals.check()

    def watch_silence(self, on_silence: Callable[[], None]) -> None:
        """Have `on_silence` called for each record that got no acknowledgement in time."""
        self._sending.on_silence = on_silence

    async def warm_up(self) -> None:
        """Connect and learn where every partition is, or the first record waits for that. Without Kafka: later."""
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(self._sending.clients.main.list_topics, timeout=WARM_UP_TIMEOUT_S)

    def send(
        self, topic: Topic, key: str, record: Record, *, headers: TraceHeaders | None = None
    ) -> "asyncio.Future[Placement]":
        """Write one record; the future resolves with its place, or fails with `KafkaUnavailableError`."""
        return self.send_bytes([trace((topic, key.encode(), to_bytes(record)), headers)])

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """Write records in order; resolves with the place of one of them when all are there.

        A full buffer is a failure. Records handed over before it still go out.
        """
        waiting = Unacknowledged(self._loop.create_future(), len(records))
        prompt = []
        for record in records:
            if record[0].linger_s:
                self._hold(record, waiting)
            else:
                prompt.append(record)
        if prompt:
            self._outbox.append((waiting, prompt))
            self._outbox_records += len(prompt)
            self._step_soon()
        return waiting.future

    async def send_patiently(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        """Send, and return when all are handed over: waits for room as long as the buffer is full."""
        waiting = Unacknowledged(self._loop.create_future(), len(records))
        now_s = self._loop.time()
        self._hand_over()  # records sent before stay before
        try:
            for record in records:
                if record[0].linger_s:
                    self._hold(record, waiting)
                    continue
                while True:
                    try:
                        self._sending.give(record, waiting, now_s)
                        break
                    except BufferError:
                        self._step()  # acknowledgements make room
                        await asyncio.sleep(FULL_POLL_S)
                    except KafkaException as error:
                        self._sending.give_up(waiting, [record], error)
                        break
        finally:
            # at the end: there may have been no step since the last one was handed over; it is not acknowledged yet
            self._step_soon(self._pace.busy_s)
        return waiting.future

    async def flush(self) -> None:
        """Wait until every record is acknowledged or has failed."""
        while len(self):
            self._held_until_s = 0.0
            self._step()
            await asyncio.sleep(PACE_MIN_S)

    async def close(self) -> None:
        """Flush."""
        await self.flush()
        self._timer.cancel()

    def _step_soon(self, wait_s: float = 0.0) -> None:
        """Send after so long, or at once with other records of this turn of the loop; unless a step is near anyway."""
        if self._timer.is_set and not self._timer.is_holding and not self._pace.is_slow:
            return
        self._pace.hurry()
        self._timer.set_soon(wait_s)

    def _hold(self, record: ToSend, waiting: Unacknowledged) -> None:
        """Keep a record of a topic that lingers until its time, or until an earlier one's."""
        now_s = self._loop.time()
        self._held.append((waiting, record))
        until_s = now_s + self._pace.hold_s(record[0].linger_s)
        is_sooner = until_s < self._held_until_s
        if is_sooner:
            self._held_until_s = until_s
        if not self._timer.is_set or (self._timer.is_holding and is_sooner):
            self._timer.set_at(self._held_until_s, is_holding=True)

    def _step(self) -> None:
        self._hand_over()
        now_s = self._loop.time()
        if self._held and now_s >= self._held_until_s:
            self._hand_over_held(now_s)
        self._pace.end_step(now_s, self._sending.poll())
        if (self._timer.is_set and not self._timer.is_holding) or not len(self):
            return
        if len(self) == len(self._held):
            self._timer.set_at(self._held_until_s, is_holding=True)
        else:
            self._timer.set_at(now_s + self._pace.next_s, is_holding=False)

    def _hand_over(self) -> None:
        outbox, self._outbox = self._outbox, []
        self._outbox_records = 0
        now_s = self._loop.time()
        for waiting, records in outbox:
            for index, record in enumerate(records):
                try:
                    self._sending.give(record, waiting, now_s)
                except BufferError as error:
                    # records handed over already still report; the rest never will
                    self._sending.give_up(waiting, records[index:], error)
                    break
                except KafkaException as error:
                    self._sending.give_up(waiting, [record], error)

    def _hand_over_held(self, now_s: float) -> None:
        while self._held:
            waiting, record = self._held[0]
            try:
                self._sending.give(record, waiting, now_s)
            except BufferError:
                return  # with the next step: acknowledgements until then make room
            except KafkaException as error:
                self._sending.give_up(waiting, [record], error)
            self._held.popleft()
        self._held_until_s = math.inf
