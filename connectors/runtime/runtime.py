"""The one consume loop of every sink, wired: the tasks that run beside each other, and the order in which they end.

A record is taken from Kafka (`intake`), waits in its lane (`flow`), is put by the sink, and is settled. Everything
below the watermark is settled; that offset is committed, with what is settled beyond it (`commits`). No record waits
for another one here.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from connectors.runtime.assignment import Assignment
from connectors.runtime.commits import Commits
from connectors.runtime.figures import Figures
from connectors.runtime.flow import Flow
from connectors.runtime.intake import Intake
from connectors.runtime.log_changes import LogChanges
from connectors.runtime.owned import Owned
from connectors.runtime.positions import Positions
from connectors.runtime.progress import Progress
from connectors.sink import Bookmark, Parking, PositionKeeper, Sink
from pipeline.config import KafkaConfig, WorkerConfig
from pipeline.core.lanes.budget import Budget
from pipeline.kafka.group.consumer import LogConsumer
from pipeline.kafka.group.handler import Handler
from pipeline.kafka.group.in_flight import Limits
from pipeline.kafka.log_clock import wall_us
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.topic_ids import TopicIds
from pipeline.metrics import Metrics
from pipeline.supervisor import Together, run_together
from pipeline.topics import Topic

TICK_S = 0.25
ROTATE_TICKS = 40  # ten seconds


class Runtime:
    """Runs one sink. `lead`: the topics of the group; `companions`: see `LogConsumer`."""

    def __init__(
        self,
        sink: Sink,
        *,
        kafka: KafkaConfig,
        config: WorkerConfig,
        metrics: Metrics,
        group: str,
        lead: Sequence[Topic],
        companions: Sequence[Topic] = (),
        open_max: int,
        parking: Parking | None = None,
        bookmark: Bookmark | None = None,
        positions: PositionKeeper | None = None,
        batch_max: int = 1,
        linger_s: float = 0,
        faults: ReadFaults | None = None,
        skips_probes: bool = False,
        clock_us: Callable[[], int] = wall_us,
        ids: TopicIds | None = None,
        reads_traces: bool = False,
        run_dir: Path | None = None,
    ) -> None:
        """`open_max`: calls of `put` at once; `batch_max`: records in one call; `linger_s`: see `LogConsumer`.

        `skips_probes`: probes are settled without the sink, which keeps no positions; else they would count as a lane.
        `clock_us`: the clock by which records are due. `reads_traces`: see `LogConsumer`.
        """
        lead_names = frozenset(topic.name for topic in lead)
        consumer = LogConsumer(
            kafka,
            group=group,
            topics=lead,
            companions=companions,
            limits=Limits(
                batch_max_records=config.batch_size,
                in_flight_max_records=config.in_flight_max,
                in_flight_max_bytes=config.in_flight_max_bytes,
            ),
            linger_s=linger_s,
            clock_us=clock_us,
            ids=ids,
            reads_traces=reads_traces,
            run_dir=run_dir,
        )
        owned = Owned()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        flow = Flow(
            sink,
            parking=parking,
            budget=Budget(
                records_max=config.in_flight_max,
                bytes_max=config.in_flight_max_bytes,
                places_max=open_max,
                batch_max=config.batch_size,
            ),
            open_max=open_max,
            batch_max=batch_max,
            parked_rate_min_per_s=config.parked_rate_min_per_s,
            release=consumer.release,
            fail=self._fail,
            clock_us=clock_us,
            retry_topics=companions,
        )
        self._flow, self._consumer = flow, consumer
        self._positions = Positions(owned, positions, consumer.explain)
        self.commits = Commits(owned, commit=consumer.commit, bookmark=bookmark, config=config, metrics=metrics)
        self._figures = Figures(
            owned, flow, metrics, topics=(*lead, *companions), lead_names=lead_names, clock_us=clock_us
        )
        self._assignment = Assignment(sink, owned, flow, self.commits, self._figures, config=config, fail=self._fail)
        self._progress = Progress(flow, consumer, config)
        intake = Intake(
            owned,
            flow,
            self._positions,
            lead_names=lead_names,
            skips_probes=skips_probes,
            release=consumer.release,
            fail=self._fail,
            clock_us=clock_us,
        )
        changes = LogChanges(
            owned, self.commits, self._positions, faults=faults or ReadFaults(metrics), metrics=metrics
        )
        self._handler = Handler(
            assignment=self._assignment,
            changes=changes,
            received=intake.receive,
            measured=self._figures.measured,
            commit_ended=self.commits.ended,
            retries_rest_s=flow.returns.rest_s,
        )
        self.is_assigned = self._assignment.is_assigned
        self.check, self.check_movement = self._progress.check, self._progress.check_movement

    async def run(self, stopping: asyncio.Event, *, together: Together = run_together) -> None:
        """Consume until `stopping`, then settle open records, commit, and leave the group. Raises the first failure.

        `together`: runs the tasks of the loop.
        """
        self._consumer.start(self._handler)
        try:
            await together(
                stopping,
                committing=self.commits.run(),
                ticking=self._tick_regularly(),
                working=self._wait_for_failure(),
                consuming=self._consumer.failure(),
            )
        finally:
            self._flow.stop()
            self._assignment.stop()
        await self._consumer.close()

    def check_group(self) -> str | None:
        """See `Standing.check`."""
        return self._consumer.check_group(has_partitions=self.is_assigned.is_set())

    async def announce(self, announce: Callable[[], None]) -> None:
        """Call `announce` when partitions have been assigned."""
        await self.is_assigned.wait()
        announce()

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _wait_for_failure(self) -> None:
        await asyncio.shield(self._failure)

    async def _tick_regularly(self) -> None:
        for tick in itertools.count(1):
            await asyncio.sleep(TICK_S)
            if tick % ROTATE_TICKS == 0:
                self._flow.rotate()
            self._flow.tick(TICK_S, full_for_s=self._consumer.full_for_s())
            self._figures.tick(self._progress.measure_stalls())
            self._positions.report()
