"""The consumer's side on the loop: it hands records to the handler, in the order in which they were read.

Everything here runs on the loop. The thread reads `handler` and `received_batches`, and sets nothing.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TypeVar

from pipeline.kafka.group.handler import Handler
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord

# Thousands of retries that are due at once find their lane full and are parked again, 40 µs each. The loop gets so many
# of them a turn: between two turns it does everything else, and the thread gets the interpreter to read new records.
RETRIES_AT_ONCE = 20

T = TypeVar("T")


class LoopSide:
    """Calls the handler on the loop with what the thread hands over."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler: Handler | None = None
        # records of retry topics that were read and not handled; True: the last of its batch
        self._retries: deque[tuple[Sequence[LogRecord], bool]] = deque()
        self._is_pumping = False
        self._rests_until_s = 0.0  # of the loop's clock
        self.received_batches = 0
        self.faults_met = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self, handler: Handler) -> None:
        """Set the handler, before anything else is called."""
        self._handler = handler

    @property
    def handler(self) -> Handler:
        """The thread reads it, too; its functions are called on the loop alone."""
        if self._handler is None:
            raise RuntimeError("the consumer was not started")
        return self._handler

    def receive(self, records: Sequence[LogRecord]) -> None:
        """Hand new records to the handler."""
        self.received_batches += 1
        self.handler.received(records)

    def receive_retries(self, records: Sequence[LogRecord]) -> None:
        """Records of retry topics: they are handled in pieces, one a turn, whichever batch they came in."""
        for begin in range(0, len(records), RETRIES_AT_ONCE):
            end = begin + RETRIES_AT_ONCE
            self._retries.append((records[begin:end], end >= len(records)))
        if not self._is_pumping:
            self._is_pumping = True
            self._pump_later()

    def meet(self, fault: ReadFault) -> None:
        """See `LogChanges.met`. Records read before the fault are handled first."""
        self._finish_retries()
        self.faults_met += 1
        self.handler.changes.met(fault)

    async def answer(self, question: Coroutine[object, object, T]) -> T:
        """The handler's answer to a rebalance. Records read before it are handled first."""
        self._finish_retries()
        return await question

    def end(self, error: BaseException | None) -> None:
        """The thread has ended; `error`: why, if it should not have."""
        if self.ended.done():
            return
        if error is not None:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _pump(self) -> None:
        if self._retries:  # a rebalance may have had them handled
            self._receive_piece()
        self._is_pumping = bool(self._retries)
        if self._is_pumping:
            self._pump_later()

    def _pump_later(self) -> None:
        if self._loop.time() < self._rests_until_s:
            self._loop.call_at(self._rests_until_s, self._pump)
        else:
            self._loop.call_soon(self._pump)

    def _finish_retries(self) -> None:
        while self._retries:
            self._receive_piece()

    def _receive_piece(self) -> None:
        records, is_last = self._retries.popleft()
        self.received_batches += is_last
        self.handler.received(records)
        self._rests_until_s = self._loop.time() + self.handler.retries_rest_s(records)
