"""A cluster of three brokers that fail in every way, under load: the long form of tests/integration/kafka.

Brokers have Kafka's own times (a broker that is silent for 9 s is fenced).
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.test_lost_tail import count_lost
from tests.integration.archive.tables import read_rows
from tests.support.clustered import PROCESSES, Fault, Installation, run_installation
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.kafka_cluster import NODES, OFFSETS, KafkaCluster

RATE_PER_S = 50.0
BETWEEN_S = 5.0
AWAY_S = 20.0
BROKER_TIMES = {"broker_session_timeout_ms": "9000", "broker_heartbeat_interval_ms": "2000"}

Strike = Callable[[Installation, Fault], Awaitable[None]]


async def kill(installation: Installation, fault: Fault, number: int) -> None:
    """Kill a node, have one more of each process started without it, and start it again."""
    cluster = installation.cluster
    fault.notes.append(f"node {number}; controller was {cluster.find_controller()}")
    await cluster.kill(number)
    await installation.start_each(fault)
    await installation.load.go_on(AWAY_S)
    await cluster.start(number)


async def kill_leader(installation: Installation, fault: Fault) -> None:
    await kill(installation, fault, await installation.cluster.find_leader(installation.place()))


async def kill_controller(installation: Installation, fault: Fault) -> None:
    await kill(installation, fault, installation.cluster.find_controller())


async def kill_coordinator(installation: Installation, fault: Fault) -> None:
    await kill(installation, fault, await installation.cluster.find_coordinator(installation.group("deliver")))


async def restart_in_order(installation: Installation, _: Fault) -> None:
    for number in NODES:
        await installation.cluster.stop(number)
        await installation.cluster.start(number)
        await installation.cluster.wait_whole()


async def freeze_leader(installation: Installation, fault: Fault) -> None:
    number = await installation.cluster.find_leader(installation.place())
    installation.cluster.freeze(number)
    await installation.start_each(fault)
    await installation.load.go_on(AWAY_S)
    installation.cluster.thaw(number)


async def kill_two(installation: Installation, _: Fault) -> None:
    await installation.cluster.kill(1, 2)
    await installation.load.go_on(AWAY_S)
    await installation.cluster.start(1, 2)


async def refuse_writes(installation: Installation, _: Fault) -> None:
    """All replicas have to be in sync, and one is away: its controllers answer, and no record is taken."""
    events, servers = installation.stack.topics.events, installation.cluster.servers
    await alter_topic(servers, events, "min.insync.replicas", "3")
    await installation.cluster.kill(3)
    await installation.load.go_on(AWAY_S)
    await alter_topic(servers, events, "min.insync.replicas", "2")
    await installation.cluster.start(3)


async def move_leaders(installation: Installation, _: Fault) -> None:
    """Leaders move by reassignment to other nodes and back, and by elections of the preferred replicas."""
    partitions = installation.stack.topics.events.partitions
    places = [(topic.name, each) for topic in installation.stack.topics.all() for each in range(partitions)]
    for first in NODES:
        order = [*range(first, len(NODES) + 1), *range(1, first)]
        await installation.cluster.reassign(dict.fromkeys(places, order[:2]))
        await installation.load.go_on(BETWEEN_S)
        await installation.cluster.reassign(dict.fromkeys(places, order))
        await installation.cluster.elect_preferred()
        await installation.load.go_on(BETWEEN_S)


async def empty_node(installation: Installation, _: Fault) -> None:
    """A broker comes back with an empty disk."""
    number = await installation.cluster.find_leader(installation.place())
    await installation.cluster.kill(number)
    installation.cluster.empty(number)
    await installation.cluster.start(number)


FAULTS: dict[str, Strike] = {
    "a leader killed": kill_leader,
    "the controller killed": kill_controller,
    "a coordinator killed": kill_coordinator,
    "restarted in order": restart_in_order,
    "a leader frozen": freeze_leader,
    "two of three killed": kill_two,
    "all replicas wanted, one killed": refuse_writes,
    "leaders moved": move_leaders,
    "an emptied disk": empty_node,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaCluster]:
    async with KafkaCluster(tmp_path_factory.mktemp("cluster"), **BROKER_TIMES) as cluster:
        yield cluster


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_cluster(
    cluster: KafkaCluster, tmp_path: Path, postgres: str, migrated_template: str, name: str
) -> None:
    """No accepted event is lost, none is a dead letter, no loss is reported; all processes are well again."""
    async with run_installation(cluster, postgres, migrated_template, tmp_path, rate_per_s=RATE_PER_S) as installation:
        async with installation.load as load:
            await load.go_on(BETWEEN_S)
            with installation.fault(name) as fault:
                await FAULTS[name](installation, fault)
            await installation.get_well(BETWEEN_S)
            sys.stdout.write(installation.describe(fault) + "\n")
            sys.stdout.flush()
        await installation.check()
        said = installation.watch.list_said(0, fault.over_s)

    assert not {"log", "routes_log"} & set().union(*said.values())


async def test_an_unclean_election(
    cluster: KafkaCluster, tmp_path: Path, postgres: str, migrated_template: str
) -> None:
    """A topic that allows it loses what one replica alone had: it is said, and everything goes on."""
    async with run_installation(cluster, postgres, migrated_template, tmp_path, rate_per_s=RATE_PER_S) as installation:
        events = installation.stack.topics.events
        ours = [(events.name, number) for number in range(events.partitions)]
        await cluster.reassign({place: [1, 3] for place in ours})
        await cluster.elect_preferred(ours)
        await alter_topic(cluster.servers, events, "min.insync.replicas", "1")
        await alter_topic(cluster.servers, events, "unclean.leader.election.enable", "true")
        async with installation.load as load:
            await load.go_on(BETWEEN_S)
            with installation.fault("an unclean election") as fault:
                await cluster.kill(3)
                await load.go_on(AWAY_S)
                kept = len(load.accepted)
                await cluster.kill(1)
                await cluster.start(3)
                await load.go_on(BETWEEN_S)
                await cluster.start(1)
            await cluster.wait_whole()
            await load.go_on(AWAY_S)

            def is_said() -> bool:
                said = installation.watch.list_said(fault.begun_s, float("inf"))
                assert "log" in said["matcher"] & said["archive"], said
                return True

            await eventually(is_said, timeout_s=60)
            before = len(load.accepted)
            await eventually(lambda: len(load.accepted) > before + RATE_PER_S, timeout_s=60)
            fault.over_s = time.monotonic()
        newest = [event for event, at_s in load.accepted.items() if at_s > fault.cured_s]
        await eventually(lambda: {*newest} <= find_archived(installation), timeout_s=120)
        missing = load.accepted.keys() - find_archived(installation)
        lost = await count_lost(installation.stack, events)
        sys.stdout.write(f"{installation.describe(fault)}\n")
        sys.stdout.write(f"{kept} accepted before, {len(load.accepted)} in all, {len(missing)} not archived, ")
        sys.stdout.write(f"{lost:.0f} offsets named as lost\n")

    assert 0 < lost
    assert len(missing) <= lost


def find_archived(installation: Installation) -> set[str]:
    return {str(row["event_id"]) for row in read_rows(installation.stack.database_url, "events")}


async def test_groups_without_a_coordinator(
    cluster: KafkaCluster, tmp_path: Path, postgres: str, migrated_template: str
) -> None:
    """Only the broker that has `__consumer_offsets` is gone: every process says so, and goes on when it is back."""
    async with run_installation(cluster, postgres, migrated_template, tmp_path, rate_per_s=RATE_PER_S) as installation:
        async with installation.load as load:
            await load.go_on(BETWEEN_S)
            offsets = (await asyncio.to_thread(cluster.read_metadata)).topics[OFFSETS]
            await cluster.reassign({(OFFSETS, number): [3] for number in offsets.partitions})
            await load.go_on(BETWEEN_S)
            with installation.fault("groups without a coordinator") as fault:
                cluster.freeze(3)
                await load.go_on(90.0)
                said = installation.watch.list_said(fault.begun_s, float("inf"))
                cluster.thaw(3)
            fault.over_s = time.monotonic()
            sys.stdout.write(f"{said}\n{installation.describe(fault)}\n")
            await installation.get_well(BETWEEN_S)
            sys.stdout.write(f"{installation.describe(fault)}\n")
        await installation.check()

    assert dict.fromkeys(PROCESSES, True) == {name: "group" in problems for name, problems in said.items()}
