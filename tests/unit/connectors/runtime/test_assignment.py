"""Partitions that come and go, without Kafka."""

import asyncio
from collections.abc import Hashable, Mapping, Sequence

from connectors.runtime.assignment import Assignment
from connectors.runtime.commits import Commits
from connectors.runtime.figures import Figures
from connectors.runtime.flow import Flow
from connectors.runtime.owned import Owned
from connectors.sink import Incoming, LogRecord, Place
from pipeline.config import WorkerConfig
from pipeline.core.lanes.budget import Budget
from pipeline.core.lanes.fixed_gate import FixedGate
from pipeline.core.log.commit_note import CommitNote
from pipeline.kafka.record import Committed
from pipeline.metrics import Metrics
from tests.support.eventually import eventually

PLACE, OTHER = ("topic", 0), ("topic", 1)


class ForgetfulSink:
    """`hang`: it waits for its target when partitions are assigned; `revoked` fails."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.is_asked = False

    def classify(self, record: LogRecord) -> Incoming:
        return Incoming(record, record.key)

    def gate(self, lane: Hashable) -> FixedGate:
        return FixedGate(1)

    async def put(self, works: Sequence[LogRecord]) -> None: ...

    async def assigned(self, notes: Mapping[Place, CommitNote | None]) -> Mapping[Place, int]:
        self.is_asked = True
        if self.hangs:
            await asyncio.Event().wait()
        return {}

    async def revoked(self, places: Sequence[Place]) -> None:
        raise RuntimeError("a mistake of ours")


def make_assignment(sink: ForgetfulSink, errors: list[BaseException]) -> tuple[Assignment, Owned]:
    config, metrics, owned = WorkerConfig(), Metrics("test"), Owned()
    flow = Flow(
        sink,
        parking=None,
        budget=Budget(records_max=100, bytes_max=1 << 20, places_max=10, batch_max=10),
        open_max=10,
        batch_max=1,
        parked_rate_min_per_s=1.0,
        release=lambda record: None,
        fail=errors.append,
        clock_us=lambda: 0,
    )
    commits = Commits(owned, commit=lambda offsets: None, bookmark=None, config=config, metrics=metrics)
    figures = Figures(owned, flow, metrics, topics=(), lead_names=(), clock_us=lambda: 0)
    return Assignment(sink, owned, flow, commits, figures, config=config, fail=errors.append), owned


async def test_a_sink_that_fails_over_lost_partitions_ends_the_process() -> None:
    """`lost` is no coroutine, so the sink's own part runs as a task: its failure is reported like any other."""
    errors: list[BaseException] = []
    assignment, owned = make_assignment(ForgetfulSink(), errors)
    await assignment.assigned({PLACE: Committed(7)})

    assignment.lost([PLACE])

    await eventually(lambda: [str(error) for error in errors] == ["a mistake of ours"])
    assert owned.find(PLACE) is None


async def test_a_member_that_lost_all_its_partitions_is_not_ready_until_it_has_some() -> None:
    """A member whose coordinator is gone reads nothing, like one that has read everything."""
    assignment, _ = make_assignment(ForgetfulSink(), [])
    seen = []
    for places in ([PLACE, OTHER], [PLACE]):
        await assignment.assigned(dict.fromkeys(places, Committed(7)))
        seen.append(assignment.is_assigned.is_set())
        for place in places:
            assignment.lost([place])
            seen.append(assignment.is_assigned.is_set())

    assert [True, True, False, True, False] == seen


async def test_the_end_does_not_wait_for_a_sink_that_waits_for_its_target() -> None:
    """The consumer closes by a rebalance, which would wait for this answer."""
    sink = ForgetfulSink(hangs=True)
    assignment, owned = make_assignment(sink, [])
    asking = asyncio.create_task(assignment.assigned({PLACE: Committed(7)}))
    await eventually(lambda: sink.is_asked)

    assignment.stop()

    assert {} == await asking
    assert owned.find(PLACE) is None
