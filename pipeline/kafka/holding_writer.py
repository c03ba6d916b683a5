"""Writing records that must get into the log: refused ones are held and written again, and no new work begins.

Work whose outcome cannot be written down would be done again by the next process, and the one after that. So a process
waits for `wait_open` before it causes anything: at the start until every topic has taken a probe, later as long as
something is held, or no acknowledgement comes. It goes on by itself when the topics take records again.

A record that is refused for good is replaced only when its topic takes a probe after that, and then still refuses the
record. A topic that refuses even the smallest record is wrong, not the record: replaced one by one, all deliveries
would become dead letters.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from pipeline.kafka.failures import KafkaUnavailableError, RecordRefusedError, ToSend
from pipeline.kafka.probes import PROBE_KEY, STALLED_AFTER_S, choose_probe, write_probes
from pipeline.kafka.producer import Placement
from pipeline.kafka.writing.unacknowledged import NOWHERE
from pipeline.metrics import Metrics
from pipeline.topics import Topic

TICK_S = 0.2
# between attempts to write refused records
RETRY_MIN_S = 1.0
RETRY_MAX_S = 5.0
# of the producer below: a broker restarts meanwhile, and what is to be written is in memory
PRODUCE_TIMEOUT_S = 300.0

Written = asyncio.Future[Placement]
# Replacements of a record that is refused for good; None: there are none, hold it.
Replace = Callable[[ToSend, RecordRefusedError], list[ToSend] | None]
Refused = tuple[ToSend, RecordRefusedError]

log = structlog.get_logger()


class Producer(Protocol):
    """Writes, and reports records that were not written."""

    def __len__(self) -> int: ...

    def send_bytes(self, records: Sequence[ToSend]) -> Written: ...

    def send_patiently(self, records: Sequence[ToSend]) -> Awaitable[Written]: ...


class Write:
    """Records that are one promise."""

    __slots__ = ("future", "started_s")

    def __init__(self, future: Written, started_s: float) -> None:
        self.future = future
        self.started_s = started_s


class Doubted(NamedTuple):
    """Records of one write that were refused for good, and others of it to hold."""

    write: Write
    refused: list[Refused]
    held: list[ToSend]


class Left(NamedTuple):
    """Replacements of records of one write, and records of it without one, which are held."""

    replaced: list[ToSend]
    held: list[ToSend]


class HoldingWriter:
    """Stands between a process and its producer while `run` runs. Its futures never fail, and may take any time.

    A record that is refused for good is replaced by what `replace` says.
    """

    def __init__(
        self, producer: Producer, topics: Sequence[Topic], *, replace: Replace, metrics: Metrics, process: str
    ) -> None:
        """`topics`: that must take a probe before anything is caused."""
        self._producer = producer
        self._unproven = list(topics)
        self._replace = replace
        self._metrics = metrics
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[Write, list[ToSend]]] = deque()
        self._doubted: deque[Doubted] = deque()
        self._under_way: dict[Write, None] = {}  # the oldest first
        self._opened = asyncio.Event()
        self._reason = ""

    def __len__(self) -> int:
        doubted = sum(len(each.refused) + len(each.held) for each in self._doubted)
        return len(self._producer) + doubted + sum(len(records) for _, records in self._held)

    async def wait_open(self) -> None:
        """Return when the outcome of new work can be written."""
        await self._opened.wait()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def check(self) -> str | None:
        """Health: None, or why nothing is caused at this moment."""
        if self._opened.is_set():
            return None
        return f"the log does not take what this process writes, so it does nothing: {self._reason}"

    def send_bytes(self, records: Sequence[ToSend]) -> Written:
        """Write records in order; resolves with the place of one of them when all are there."""
        write = self._begin()
        if self._held:
            self._held.append((write, list(records)))
        else:
            self._hand_over(write, records)
        return write.future

    async def send_patiently(self, records: Sequence[ToSend]) -> Written:
        """Send, and return when all are handed over: waits for room as long as the producer's buffer is full."""
        write = self._begin()
        if self._held:
            self._held.append((write, list(records)))
        else:
            self._under_way[write] = None
            self._follow(write, records, await self._producer.send_patiently(records))
        return write.future

    async def run(self) -> None:
        """Runs for ever: prove that topics take records, and write held ones."""
        wait_s = RETRY_MIN_S
        while True:
            if self._doubted:
                is_well = await self._settle_doubted()
            elif self._unproven:
                is_well = await self._prove()
            elif self._held:
                is_well = await self._write_held()
            else:
                self._judge()
                await asyncio.sleep(TICK_S)
                continue
            wait_s = RETRY_MIN_S if is_well else min(2 * wait_s, RETRY_MAX_S)
            if not is_well:
                await asyncio.sleep(wait_s)

    # Proving.

    async def _prove(self) -> bool:
        if not self._reason:
            self._reason = f"no acknowledgement yet of a probe of {', '.join(topic.name for topic in self._unproven)}"
        probes = [(topic, PROBE_KEY) for topic in self._unproven]
        failed = await write_probes(self._producer, probes, process=self._process, timeout_s=None)
        self._unproven = [topic for topic, _ in failed]
        if failed:
            self._reason = "; ".join(failed.values())
            log.error("outcome_not_writable", reason=self._reason)
        else:
            self._judge()
        return not failed

    async def _settle_doubted(self) -> bool:
        """Write records that were refused for good again, replace them, or hold them. Is none held?"""
        doubted, self._doubted = self._doubted, deque()
        left = await self._write_behind_probe([each.refused for each in doubted])
        is_well = True
        for each, (replaced, held) in zip(doubted, left, strict=True):
            is_well = self._go_on(each.write, replaced, [*each.held, *held]) and is_well
        return is_well

    async def _write_behind_probe(self, writes: Sequence[Sequence[Refused]]) -> list[Left]:
        """Write records once more that were refused for good: their topic may have been mended since, or be wrong.

        One that is refused behind a probe that its topic took is replaced. A topic that takes none closes the writer.
        """
        # each in the record's own partition: a setting reaches one partition of a topic after the other
        probes = dict.fromkeys(choose_probe(record) for refused in writes for record, _ in refused)
        failed = await write_probes(self._producer, probes, process=self._process, timeout_s=STALLED_AFTER_S)
        self._unproven = list(dict.fromkeys([*self._unproven, *(topic for topic, _ in failed)]))
        again = [[record for record, _ in refused if choose_probe(record) not in failed] for refused in writes]
        written = [self._producer.send_bytes(records) if records else None for records in again]
        if under_way := [each for each in written if each is not None]:
            await asyncio.wait(under_way)
        left = []
        for refused, records, done in zip(writes, again, written, strict=True):
            still_refused, held = self._sort_out(records, done) if done is not None else ([], [])
            replaced, irreplaceable = self._replace_or_hold(still_refused)
            held += irreplaceable
            for record, _ in refused:
                if (reason := failed.get(choose_probe(record))) is not None:
                    held.append(record)
                    self._reason = reason
            left.append(Left(replaced, held))
        return left

    def _replace_or_hold(self, refused: Sequence[Refused]) -> Left:
        left = Left([], [])
        for record, failure in refused:
            instead = self._replace(record, failure)
            if instead is None:
                left.held.append(record)
                self._reason = f"{record[0].name}: {failure}"
            else:
                log.error("record_replaced", topic=record[0].name, reason=str(failure), by=len(instead))
                left.replaced.extend(instead)
        return left

    # Writing.

    def _begin(self) -> Write:
        return Write(self._loop.create_future(), self._loop.time())

    def _hand_over(self, write: Write, records: Sequence[ToSend]) -> None:
        self._under_way[write] = None
        self._follow(write, records, self._producer.send_bytes(records))

    def _follow(self, write: Write, records: Sequence[ToSend], written: Written) -> None:
        written.add_done_callback(partial(self._on_done, write, records))

    def _on_done(self, write: Write, records: Sequence[ToSend], done: Written) -> None:
        self._under_way.pop(write, None)
        refused, held = self._sort_out(records, done)
        if refused:
            self._doubted.append(Doubted(write, refused, held))
        elif held:
            self._hold(write, held)
        else:
            _resolve(write, done.result())

    def _go_on(self, write: Write, replaced: list[ToSend], held: list[ToSend]) -> bool:
        """Write what replaces the refused records of a write. False: some of its records are held."""
        if held:
            self._hold(write, [*held, *replaced])
        elif replaced:
            self._hand_over(write, replaced)
        else:
            _resolve(write, NOWHERE)
        return not held

    def _sort_out(self, records: Sequence[ToSend], done: Written) -> tuple[list[Refused], list[ToSend]]:
        """Records that were refused for good, and others that were not written."""
        if done.cancelled():
            return [], list(records)
        error = done.exception()
        if error is None:
            return [], []
        if not isinstance(error, KafkaUnavailableError):
            raise error
        refused: list[Refused] = []
        held: list[ToSend] = []
        for record, failure in error.failed or [(record, error) for record in records]:
            if isinstance(failure, RecordRefusedError):
                refused.append((record, failure))
            else:
                held.append(record)
                self._reason = f"{record[0].name}: {failure}"
        return refused, held

    def _hold(self, write: Write, records: list[ToSend], *, is_first: bool = False) -> None:
        if not self._held:
            log.error("outcomes_held", reason=self._reason)
        if is_first:
            self._held.appendleft((write, records))
        else:
            self._held.append((write, records))
        self._judge()

    async def _write_held(self) -> bool:
        """Try the oldest; when it is written, or replaced, all others. Was it?"""
        write, records = self._held[0]
        written = self._producer.send_bytes(records)
        await asyncio.wait([written])
        refused, held = self._sort_out(records, written)
        replaced: list[ToSend] = []
        if refused:
            [(replaced, still_held)] = await self._write_behind_probe([refused])
            held += still_held
        self._held.popleft()
        if held:
            self._hold(write, [*held, *replaced], is_first=True)
            return False
        if refused:
            self._go_on(write, replaced, [])
        else:
            _resolve(write, written.result())
        others, self._held = self._held, deque()
        for other, left in others:
            self._hand_over(other, left)
        self._judge()
        return True

    def _judge(self) -> None:
        """Open or close."""
        oldest = next(iter(self._under_way), None)
        is_stalled = oldest is not None and self._loop.time() - oldest.started_s > STALLED_AFTER_S
        held = sum(len(records) for _, records in self._held)
        self._metrics.outcomes_held.set(held)
        if is_stalled and not self._held:
            self._reason = f"no acknowledgement for {STALLED_AFTER_S:g} s"
        is_open = not self._unproven and not self._held and not is_stalled
        if is_open and not self._opened.is_set():
            log.info("outcome_writable")
            self._opened.set()
        elif not is_open and self._opened.is_set():
            log.error("outcome_not_writable", reason=self._reason)
            self._opened.clear()
        self._metrics.writable.set(is_open)


def _resolve(write: Write, placement: Placement) -> None:
    if not write.future.done():
        write.future.set_result(placement)
