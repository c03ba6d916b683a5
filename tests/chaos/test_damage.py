"""One wrong bit in each topic in turn, in a header, a frame and a payload, under load: everything goes on, and says so.

Processes that end are started again at once, as a supervisor does. A topic that is followed by a group is damaged
behind what was read of it; one that is read from its beginning, while its readers are killed.
"""

import asyncio
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import Topic, Topics
from tests.chaos.loads import TYPE, Load, describe_payload
from tests.integration.damage.conftest import OwnBroker
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.receiver import Receiver, Status
from tests.support.segments import Batch, Segment
from tests.support.single_process import SingleProcess
from tests.support.stack import PARTITIONS, Stack, run_stack
from tests.support.supervised import keep_running

NAMES = ("gateway", "matcher", "deliver", "archive")
HEADER_BYTES = 61
KINDS = ("header", "frame", "payload")
# On a busy machine; what was measured is in docs/chaos.md.
GO_ON_MAX_S = 40.0
NEW_BATCHES = 4


class Case(NamedTuple):
    """The reader of a topic; `is_live`: the topic grows while readers are stopped, and they read on from there."""

    topic: Topic
    readers: tuple[str, ...]
    is_live: bool


class Figures(NamedTuple):
    topic: str
    kind: str
    took_s: float
    unreadable: int
    ended: list[int]


class Keeper:
    """Starts processes again that end, unless they are held."""

    def __init__(self, stack: Stack) -> None:
        self.processes = {name: process for name, (process,) in stack.processes.items()}
        self.held: set[SingleProcess] = set()
        self.ended: list[int] = []

    async def run(self) -> None:
        await keep_running(self.processes.values(), self.ended, held=self.held)


def list_cases(topics: Topics) -> list[Case]:
    return [
        Case(topics.events, ("matcher", "archive"), is_live=True),
        Case(topics.deliveries, ("deliver",), is_live=True),
        Case(topics.dispatches, ("archive",), is_live=True),
        Case(topics.attempts, ("archive",), is_live=True),
        Case(topics.dead, ("archive",), is_live=True),
        Case(topics.retries[0], ("deliver",), is_live=False),
        Case(topics.attempts, ("deliver",), is_live=False),
        Case(topics.routes, ("gateway", "matcher"), is_live=False),
        Case(topics.endpoints, ("deliver",), is_live=False),
        Case(topics.endpoint_states, ("gateway", "deliver"), is_live=False),
    ]


class Segments:
    """Segments by topic, made once: each knows which of its bits were turned."""

    def __init__(self, broker: OwnBroker) -> None:
        self._broker = broker
        self._by_topic: dict[str, list[Segment]] = {}

    def find(self, topic: Topic) -> list[Segment]:
        found = self._by_topic.setdefault(topic.name, [self._broker.segment(topic, each) for each in range(PARTITIONS)])
        return [segment for segment in found if segment.path.exists()]


async def find_new(segments: Iterable[Segment]) -> tuple[Segment, Batch]:
    """A batch of those that are written from now on."""
    before = {segment.path: len(segment.batches()) for segment in segments}

    def find() -> tuple[Segment, Batch]:
        for segment in segments:
            new = segment.batches()[before[segment.path] :]
            if len(new) >= NEW_BATCHES:
                return segment, new[1]
        raise AssertionError("nothing new was written")

    return await eventually(find, timeout_s=20)


def find_old(segments: Iterable[Segment]) -> tuple[Segment, Batch]:
    """The last batch but one of the partition with the most."""
    segment = max(segments, key=lambda each: len(each.batches()))
    return segment, segment.batches()[-2:][0]


def damage(segment: Segment, batch: Batch, kind: str) -> None:
    match kind:
        case "header":
            segment.flip(batch, 11, 7)  # its length
        case "frame":
            segment.flip(batch, HEADER_BYTES + 5)
        case _:
            segment.flip(batch, (HEADER_BYTES + batch.size) // 2)


async def try_case(
    all_segments: Segments, keeper: Keeper, case: Case, kind: str, load: Load, receiver: Receiver
) -> Figures:
    """How long until an event goes all the way again, and how many records are said to be unreadable."""
    processes = [keeper.processes[name] for name in case.readers]
    segments = all_segments.find(case.topic)
    keeper.ended.clear()
    before = count_said(keeper, case.topic)
    if case.is_live:
        for process in processes:
            process.freeze()
        segment, batch = await find_new(segments)
        damage(segment, batch, kind)
        for process in processes:
            process.thaw()
    else:
        keeper.held.update(processes)
        for process in processes:
            await process.kill()
        segment, batch = find_old(segments)
        damage(segment, batch, kind)
        keeper.held.clear()
    began_at_s = time.monotonic()
    await load.go_all_the_way(receiver)
    took_s = time.monotonic() - began_at_s
    await eventually(lambda: count_said(keeper, case.topic) > before, timeout_s=60)
    return Figures(
        case.topic.name.rpartition(".")[2] if not case.topic.delay_s else "retries",
        kind,
        round(took_s, 1),
        count_said(keeper, case.topic) - before,
        list(keeper.ended),
    )


def count_said(keeper: Keeper, topic: Topic) -> int:
    """Records that the processes have named as unreadable, by their logs: figures go with a process."""
    places = set()
    for name, process in keeper.processes.items():
        for line in process.log().splitlines():
            plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
            if "records_unreadable" not in plain or f"topic={topic.name}" not in f"{plain} ".split():
                continue
            found = {key: int(value) for key, value in re.findall(r"(first_offset|last_offset|partition)=(\d+)", plain)}
            places |= {
                (name, found["partition"], offset) for offset in range(found["first_offset"], found["last_offset"] + 1)
            }
    return len({place[1:] for place in places})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_bit_in_each_topic(tmp_path: Path, postgres: str, migrated_template: str, kind: str) -> None:
    """Every process goes on within seconds; what is gone is named; nothing wrong is delivered or archived."""
    broker = OwnBroker(await asyncio.to_thread(EmbeddedKafka.start, tmp_path), tmp_path)
    figures, segments = list[Figures](), Segments(broker)
    try:
        async with (
            run_stack(
                broker.servers,
                postgres,
                migrated_template,
                *NAMES,
                GATEWAY_PORT=str(find_free_port()),
                KAFKA_PRODUCE_TIMEOUT_S="2",
            ) as stack,
            Receiver() as receiver,
        ):
            # not 500: the breaker would open, and the retry topic hold nothing that is still to be read
            receiver.script("/sick", Status(404))
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
            sick = await stack.api.subscribe(space, receiver.url("/sick"), TYPE, delivery={"retry_delays_s": [1, 1, 1]})
            load, keeper = Load(stack, space, sick, receiver.url("/sick")), Keeper(stack)
            topics = stack.topics
            async with beside(keeper.run()):
                async with beside(load.run()):
                    await eventually(lambda: len(load.accepted) > 200, timeout_s=60)
                    for case in list_cases(topics):
                        await load.go_all_the_way(receiver)
                        figures.append(await try_case(segments, keeper, case, kind, load, receiver))
                        print(figures[-1], flush=True)  # noqa: T201 - of a long test
                gone = {topic.name: count_said(keeper, topic) for topic in topics.all()}
                await check_books(stack, load, receiver, gone)
    finally:
        await asyncio.to_thread(broker.kafka.stop)

    assert GO_ON_MAX_S >= max(each.took_s for each in figures)


async def check_books(stack: Stack, load: Load, receiver: Receiver, gone: dict[str, int]) -> None:
    """No fewer than were accepted, but for what was named; no byte but those that were sent."""
    topics = stack.topics
    lost_to_receivers = gone[topics.events.name] + gone[topics.deliveries.name]

    async def find() -> dict[str, bytes]:
        delivered = {each.header("X-Event-Id"): each.body for each in receiver.requests("/a")}
        missing = load.accepted - delivered.keys()
        assert len(missing) <= lost_to_receivers, f"{len(missing)} not delivered, {lost_to_receivers} named"
        return delivered

    async def find_archived() -> dict[str, bytes]:
        async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
            rows = await (await connection.execute("select event_id::text, payload from events")).fetchall()
        archived = {row[0]: bytes(row[1]) for row in rows}
        missing = load.accepted - archived.keys()
        assert len(missing) <= gone[topics.events.name], f"{len(missing)} not archived"
        return archived

    delivered = await eventually(find, timeout_s=60)
    archived = await eventually(find_archived, timeout_s=60)
    print(  # noqa: T201 - of a long test
        f"{len(load.accepted)} accepted, {len(load.accepted - delivered.keys())} not delivered,"
        f" {len(load.accepted - archived.keys())} not archived, named: {gone}"
    )

    assert all(body == describe_payload(event_id).encode() for event_id, body in delivered.items())
    assert all(payload == describe_payload(event_id).encode() for event_id, payload in archived.items())
