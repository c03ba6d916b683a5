"""Reading topics in a consumer group, from an asyncio loop. Everything here runs on the loop.

The clients belong to a thread (`consumer_thread`). The loop's requests to it go through `requests`; records come back
through `loop_side`, in batches.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.config import KafkaConfig
from pipeline.kafka.group.consumer_thread import ConsumerThread
from pipeline.kafka.group.handler import Handler
from pipeline.kafka.group.in_flight import InFlight, Limits
from pipeline.kafka.group.loop_side import LoopSide
from pipeline.kafka.group.requests import Commit, Gap, Requests
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.log_clock import wall_us
from pipeline.kafka.record import Committed, LogRecord, Place
from pipeline.kafka.topic_ids import TopicIds
from pipeline.topics import Topic

SILENCE_MAX_S = 90.0


class LogConsumer:
    """A member of the group `group`, subscribed to `topics`.

    `companions` are assigned by hand, the same partitions as those of the first topic: they share its partitioner, so
    that everything about one key meets in one process.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: str,
        topics: Sequence[Topic],
        companions: Sequence[Topic] = (),
        limits: Limits,
        member: str | None = None,
        linger_s: float = 0,
        clock_us: Callable[[], int] = wall_us,
        ids: TopicIds | None = None,
        reads_traces: bool = False,
        run_dir: Path | None = None,
    ) -> None:
        """`linger_s`: leave records with the broker for so long, for larger batches. `clock_us`: the brokers'.

        `ids`: of all these topics; None: a topic that is made again is not noticed. `reads_traces`: fill in the
        records' `trace`. `run_dir`: where to remember what this member is called, should it be killed.
        """
        self._requests = Requests()
        self._in_flight = InFlight(limits, frozenset(topic.name for topic in companions))
        self._side = LoopSide()
        self._standing = Standing(group, session_timeout_s=config.session_timeout_s)
        self._worker = ConsumerThread(
            config,
            standing=self._standing,
            member=member,
            topics=topics,
            companions=companions,
            linger_s=linger_s,
            in_flight=self._in_flight,
            requests=self._requests,
            side=self._side,
            clock_us=clock_us,
            ids=ids,
            reads_traces=reads_traces,
            run_dir=run_dir,
        )
        self._thread = threading.Thread(target=self._worker.run, name=f"consumer-{group}", daemon=True)

    def start(self, handler: Handler) -> None:
        """Join the group."""
        self._side.start(handler)
        self._thread.start()

    async def failure(self) -> None:
        """Returns when the consumer has been closed; raises the error that ended it otherwise."""
        await self._side.ended

    def release(self, record: LogRecord) -> None:
        """Release a record that is settled or dropped: there is room for more."""
        self._in_flight.release(record)

    def full_for_s(self) -> float:
        """Seconds for which reading has stopped because too much is in flight; 0: it has not."""
        since_s = self._in_flight.full_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def commit(self, offsets: Mapping[Place, Committed]) -> None:
        """Commit soon. A later commit supersedes; one that fails leaves more to be repeated, nothing to be lost."""
        self._requests.commits.append(Commit(offsets, self._side.faults_met))

    def explain(self, place: Place, begin: int, end: int) -> None:
        """Find why nothing was read between these offsets. Calls `LogChanges.missing` if retention deleted records."""
        self._requests.gaps.append(Gap(place, begin, end))

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        if not self._thread.is_alive():
            return "the consumer has ended"
        if time.monotonic() - self._worker.polled_at_s > SILENCE_MAX_S:
            return "the consumer is stuck"
        return None

    def check_group(self, *, has_partitions: bool = True) -> str | None:
        """See `Standing.check`."""
        return self._standing.check(has_partitions=has_partitions)

    async def close(self) -> None:
        """Hand the partitions back (`Assignment.revoked` is called) and leave the group."""
        self._requests.closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
