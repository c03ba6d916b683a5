"""Records, faults and questions go from the consumer's thread to the loop. Called by the thread alone."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from pipeline.kafka.group.loop_side import LoopSide
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.metrics import CommitResult

# Batches handed over that the loop has not looked at; retry topics are not read while there are so many.
HANDED_MAX = 2

T = TypeVar("T")


class Handover:
    """Everything handed over arrives in the order in which it was handed over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, side: LoopSide) -> None:
        self._loop = loop
        self._side = side
        # counted up by this thread, its counterparts in `LoopSide` by the loop, so that no lock is needed
        self._handed_batches = self._faults_told = 0

    @property
    def is_loop_behind(self) -> bool:
        """Has the loop batches that it has not looked at?"""
        return self._handed_batches - self._side.received_batches >= HANDED_MAX

    def counts_now(self, faults_met: int) -> bool:
        """Does an offset count in the log as it is, that the loop gave after so many faults?"""
        return faults_met == self._faults_told

    def hand(self, records: Sequence[LogRecord], *, are_retries: bool) -> None:
        """Hand over records that were read."""
        self._handed_batches += 1
        self._call(self._side.receive_retries if are_retries else self._side.receive, records)

    def tell_end(self, place: Place, offset: int) -> None:
        """See `LogChanges.reached`."""
        self._call(self._side.handler.changes.reached, place, offset)

    def tell_fault(self, fault: ReadFault) -> None:
        """See `LogChanges.met`."""
        self._faults_told += 1
        self._call(self._side.meet, fault)

    def tell_anew(self, fault: ReadFault) -> None:
        """See `LogChanges.began_anew`."""
        self._call(self._side.handler.changes.began_anew, fault)

    def tell_missing(self, place: Place, records: int) -> None:
        """See `LogChanges.missing`."""
        self._call(self._side.handler.changes.missing, place, records)

    def tell_ends(self, ends: Mapping[Place, int]) -> None:
        """See `Handler.measured`."""
        self._call(self._side.handler.measured, ends)

    def tell_commit(self, result: CommitResult) -> None:
        """See `Handler.commit_ended`."""
        self._call(self._side.handler.commit_ended, result)

    def tell_lost(self, places: Sequence[Place]) -> None:
        """See `Assignment.lost`."""
        self._call(self._side.handler.assignment.lost, places)

    def ask_assigned(self, committed: Mapping[Place, Committed | None]) -> Mapping[Place, int]:
        """See `Assignment.assigned`. Blocks until the loop has answered."""
        return self._ask(self._side.handler.assignment.assigned(committed))

    def ask_revoked(self, places: Sequence[Place]) -> Mapping[Place, Committed]:
        """See `Assignment.revoked`. Blocks until the loop has answered."""
        return self._ask(self._side.handler.assignment.revoked(places))

    def end(self, error: BaseException | None) -> None:
        """The thread ends."""
        if not self._loop.is_closed():
            self._call(self._side.end, error)

    def _call(self, call: Callable[..., object], *values: object) -> None:
        self._loop.call_soon_threadsafe(call, *values)

    def _ask(self, question: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(self._side.answer(question), self._loop).result()
