"""A real Kafka cluster of three nodes, each broker and controller: three replicas of everything, two of them in sync.

Nodes can be killed, frozen, stopped in order, emptied, and started again at their addresses.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from pipeline.embedded.kafka import EmbeddedKafka, make_cluster_id
from pipeline.embedded.ports import LOOPBACK
from pipeline.kafka.record import Place
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_ports

NODES = (1, 2, 3)
HEAP_MIB = 256
ANSWER_TIMEOUT_S = 30.0
WHOLE_WITHIN_S = 120.0
OFFSETS = "__consumer_offsets"


class KafkaCluster:
    """An async context manager: every node is ready inside, and gone afterwards."""

    def __init__(self, directory: Path, **settings: str) -> None:
        """`settings`: more of each broker's, `broker_session_timeout_ms` for `broker.session.timeout.ms`."""
        ports = find_free_ports(2 * len(NODES))
        self._directory = directory
        self._ports = dict(zip(NODES, ports[: len(NODES)], strict=True))
        self._controller_ports = dict(zip(NODES, ports[len(NODES) :], strict=True))
        self._settings = {name.replace("_", "."): value for name, value in settings.items()}
        self._cluster_id = make_cluster_id()
        self._nodes: dict[int, EmbeddedKafka] = {}

    @property
    def servers(self) -> str:
        """Bootstrap servers: all nodes."""
        return ",".join(self.address(number) for number in NODES)

    def address(self, number: int) -> str:
        """host:port of one node."""
        return f"{LOOPBACK}:{self._ports[number]}"

    async def __aenter__(self) -> "KafkaCluster":
        try:
            # side by side: the first one is ready when two are there
            await self.start(*NODES)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def start(self, *numbers: int) -> None:
        """Start nodes that do not run; returns when they are ready."""
        await asyncio.to_thread(self._start, numbers)

    async def kill(self, *numbers: int) -> None:
        """SIGKILL."""
        for number in numbers:
            os.kill(self._nodes[number].pid, signal.SIGKILL)
        for number in numbers:
            await asyncio.to_thread(self._nodes.pop(number).stop)

    async def stop(self, number: int) -> None:
        """SIGTERM: the node gives its leaderships away, and ends."""
        await asyncio.to_thread(self._nodes.pop(number).stop, ANSWER_TIMEOUT_S)

    def freeze(self, number: int) -> None:
        """SIGSTOP: connections to it stay, and nothing is answered."""
        os.kill(self._nodes[number].pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        os.kill(self._nodes[number].pid, signal.SIGCONT)

    def empty(self, number: int) -> None:
        """Delete all that a node has, which does not run: a disk that was replaced."""
        assert number not in self._nodes, f"node {number} runs"
        shutil.rmtree(self._place(number))

    def close(self) -> None:
        """Kill what runs, frozen nodes too. Nothing of them is needed any more."""
        for node in self._nodes.values():
            os.kill(node.pid, signal.SIGKILL)
        while self._nodes:
            self._nodes.popitem()[1].stop()

    def list_running(self) -> list[int]:
        return sorted(self._nodes)

    # What the cluster says.

    def read_metadata(self, *, of: int | None = None) -> ClusterMetadata:
        """Topics, partitions and brokers. `of`: as this node has them; None: any node that answers."""
        servers = self.servers if of is None else self.address(of)
        return AdminClient({"bootstrap.servers": servers}, logger=None).list_topics(timeout=ANSWER_TIMEOUT_S)

    async def find_leader(self, place: Place) -> int:
        metadata = await asyncio.to_thread(self.read_metadata)
        return metadata.topics[place[0]].partitions[place[1]].leader

    async def find_coordinator(self, group: str) -> int:
        """The node that coordinates a group."""
        admin = AdminClient({"bootstrap.servers": self.servers}, logger=None)
        (described,) = admin.describe_consumer_groups([group]).values()
        found = await asyncio.to_thread(described.result, ANSWER_TIMEOUT_S)
        return int(found.coordinator.id)

    def find_controller(self) -> int:
        """The leader of the controllers, as they have written it down."""
        states = [
            json.loads((self._place(number) / "log/__cluster_metadata-0/quorum-state").read_text())
            for number in self._nodes
        ]
        return int(max(states, key=lambda state: state["leaderEpoch"])["leaderId"])

    async def wait_whole(self) -> None:
        """Wait until every replica of every partition is in sync."""

        async def is_whole() -> bool:
            metadata = await asyncio.to_thread(self.read_metadata)
            behind = [
                f"{topic.topic} [{number}] {partition.isrs} of {partition.replicas}"
                for topic in metadata.topics.values()
                for number, partition in topic.partitions.items()
                if partition.leader < 0 or set(partition.isrs) != set(partition.replicas)
            ]
            assert not behind, f"{len(behind)} partitions are not in sync: {behind[:3]}"
            return True

        await eventually(is_whole, timeout_s=WHOLE_WITHIN_S)

    # What an operator does.

    async def elect_preferred(self, places: Iterable[Place] | None = None) -> None:
        """Give leaderships to the first replicas; None: of all partitions."""
        admin = AdminClient({"bootstrap.servers": self.servers}, logger=None)
        parts = None if places is None else [TopicPartition(*place) for place in places]
        electing = admin.elect_leaders(ElectionType.PREFERRED, parts)
        await asyncio.to_thread(electing.result, ANSWER_TIMEOUT_S)

    async def reassign(self, replicas: Mapping[Place, Sequence[int]]) -> None:
        """Move partitions to these nodes, the first of which is to lead; returns when they are there, in sync."""
        topics: dict[str, list[tuple[int, list[int], dict[int, bytes]]]] = {}
        for (topic, number), nodes in replicas.items():
            topics.setdefault(topic, []).append((number, list(nodes), {}))
        client = AIOKafkaClient(bootstrap_servers=self.servers)
        await client.bootstrap()
        try:
            asked = AlterPartitionReassignmentsRequest(
                int(ANSWER_TIMEOUT_S * 1000), [(name, parts, {}) for name, parts in topics.items()], {}
            )
            answer = await client.send(client.get_random_node(), asked)
        finally:
            await client.close()
        assert answer.error_code == 0, answer

        async def are_there() -> bool:
            found = (await asyncio.to_thread(self.read_metadata)).topics
            for (topic, number), nodes in replicas.items():
                partition = found[topic].partitions[number]
                assert set(nodes) == set(partition.replicas) == set(partition.isrs), (topic, number, partition.isrs)
            return True

        await eventually(are_there, timeout_s=WHOLE_WITHIN_S)

    # The nodes.

    def _start(self, numbers: Sequence[int]) -> None:
        with ThreadPoolExecutor(len(numbers)) as threads:
            starting = {number: threads.submit(self._start_node, number) for number in numbers}
        errors = []
        for number, started in starting.items():
            if (error := started.exception()) is not None:
                errors.append(error)
            else:
                self._nodes[number] = started.result()
        if errors:
            raise errors[0]

    def _start_node(self, number: int) -> EmbeddedKafka:
        voters = ",".join(f"{each}@{LOOPBACK}:{port}" for each, port in self._controller_ports.items())
        settings = {
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
            # followers of the controllers need it
            "metadata.max.idle.interval.ms": "500",
            **self._settings,
        }
        return EmbeddedKafka.start(
            self._place(number),
            port=self._ports[number],
            controller_port=self._controller_ports[number],
            heap_mib=HEAP_MIB,
            extra=settings,
            cluster_id=self._cluster_id,
        )

    def _place(self, number: int) -> Path:
        return self._directory / f"node-{number}"


@asynccontextmanager
async def run_cluster(directory: Path, **settings: str) -> AsyncIterator[KafkaCluster]:
    """See `KafkaCluster`."""
    async with KafkaCluster(directory, **settings) as cluster:
        yield cluster
