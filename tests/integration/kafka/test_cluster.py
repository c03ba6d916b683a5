"""A real cluster of three brokers: what a single one never shows. The long form is tests/chaos/test_cluster.py."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AiokafkaPartition
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.log_guard import LogGuard, RecordTime
from pipeline.kafka.options import open_admin
from pipeline.kafka.partitions import LATEST
from pipeline.kafka.record import Committed, Place
from pipeline.kafka.recovery import Reached, find_cuts
from pipeline.kafka.replication import find_risks
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.matcher.coordination import guard_coordinator
from pipeline.metrics import Metrics
from pipeline.topics import Topics, declare_topics
from tests.integration.kafka.logs import DAY_S, PlainClient
from tests.integration.kafka.test_consumer import Clerk, consume
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.kafka import format_prefix
from tests.support.kafka_cluster import NODES, KafkaCluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaCluster]:
    # a broker on a busy machine may be silent for longer than the embedded one's 3 s
    async with KafkaCluster(tmp_path_factory.mktemp("cluster"), broker_session_timeout_ms="6000") as cluster:
        yield cluster


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """The start of this test's topic names. They go with the cluster."""
    return format_prefix(request.node.name, uuid4().hex[:8])


async def make_topics(cluster: KafkaCluster, prefix: str) -> tuple[KafkaConfig, Topics]:
    config = KafkaConfig(bootstrap_servers=cluster.servers, topic_prefix=prefix, partitions=1, replication_factor=3)
    topics = declare_topics(prefix=prefix, partitions=1, event_retention_s=DAY_S)
    await asyncio.to_thread(apply_topics, config, topics)
    return config, topics


async def move_leader(cluster: KafkaCluster, place: Place) -> None:
    """Another broker leads the partition from here on; nothing is lost."""
    before = await cluster.find_leader(place)
    others = [number for number in NODES if number != before]
    await cluster.reassign({place: [*others, before]})
    await cluster.elect_preferred([place])

    async def has_moved() -> bool:
        return await cluster.find_leader(place) == others[0]

    await eventually(has_moved, timeout_s=60)


async def test_topics_are_known_to_every_broker(cluster: KafkaCluster, prefix: str) -> None:
    """A process that asks another broker than `hookline topics apply` did would not start. Nothing is at risk."""
    config, topics = await make_topics(cluster, prefix)
    names = {topic.name for topic in topics.all()}
    known = [await asyncio.to_thread(cluster.read_metadata, of=number) for number in NODES]

    assert [names] * len(NODES) == [names & metadata.topics.keys() for metadata in known]
    assert [] == find_risks(config, topics.all())
    single = [(topics.dead.name, "1 replica on 3 brokers")]
    admin = AdminClient({"bootstrap.servers": cluster.servers}, logger=None)
    for deleted in admin.delete_topics([topics.dead.name]).values():
        await asyncio.to_thread(deleted.result, 30)
    await eventually(lambda: topics.dead.name not in cluster.read_metadata().topics)
    await asyncio.to_thread(apply_topics, config.model_copy(update={"replication_factor": 1}), topics)
    risks = find_risks(config, topics.all())

    assert single == [(name, risk.partition(":")[0]) for name, risk in risks]


async def test_a_broker_that_is_gone_ends_no_check(cluster: KafkaCluster, prefix: str) -> None:
    """A client asks one broker for settings and ids, and would wait for that one: another one is asked."""
    config, topics = await make_topics(cluster, prefix)
    often = config.model_copy(update={"topics_check_interval_s": 1.0})
    watches = [TopicWatch(often, topics.all(), Metrics("test")) for _ in range(2)]
    ids = [TopicIds(config, topics.all()) for _ in range(2)]
    async with contextlib.AsyncExitStack() as running:
        for watch in watches:
            await running.enter_async_context(beside(watch.run()))
        for each in ids:
            await each.start()
        await cluster.kill(1)

        async def ask() -> bool:
            try:
                for each in ids:
                    await asyncio.to_thread(each.ask)
            except (KafkaException, TimeoutError) as error:
                raise AssertionError(str(error)) from error
            return True

        await eventually(ask, timeout_s=120)
        await cluster.start(1)
        await cluster.wait_whole()

    assert [None] * len(watches) == [watch.check() for watch in watches]


async def test_a_question_to_a_broker_that_is_gone_takes_no_processor(cluster: KafkaCluster, prefix: str) -> None:
    """Two of three are gone, and the third cannot say who leads now: a client waits for those that led."""
    config, topics = await make_topics(cluster, prefix)
    await cluster.wait_whole()
    admin = open_admin(config)
    asked = {TopicPartition(topic.name, 0): LATEST for topic in topics.all()}
    await cluster.kill(1, 2)
    begun_s, used_s = time.monotonic(), time.process_time()
    for _ in range(3):
        unanswered = admin.list_offsets(asked, request_timeout=4).values()
        await asyncio.gather(*(asyncio.to_thread(each.exception, 30) for each in unanswered))
    used_share = (time.process_time() - used_s) / (time.monotonic() - begun_s)
    await cluster.start(1, 2)
    await cluster.wait_whole()

    assert used_share < 0.1, f"{used_share:.0%} of a processor"


async def test_commits_are_asked_of_the_coordinator(cluster: KafkaCluster, prefix: str) -> None:
    """A broker that does not coordinate the group answers without commits: the matcher would begin anew."""
    _, topics = await make_topics(cluster, prefix)
    place, group = (topics.events.name, 0), f"{prefix}group"
    committer = Consumer({"bootstrap.servers": cluster.servers, "group.id": group}, logger=None)
    await asyncio.to_thread(committer.commit, offsets=[TopicPartition(*place, 7)], asynchronous=False)
    committer.close()
    reader = AIOKafkaConsumer(bootstrap_servers=cluster.servers, group_id=group, enable_auto_commit=False)
    await reader.start()
    try:
        coordinator = reader._coordinator  # noqa: SLF001 - what is guarded
        guard_coordinator(coordinator, Standing(group, session_timeout_s=10))
        reader.assign([AiokafkaPartition(*place)])
        await coordinator.ensure_coordinator_known()
        coordinator.coordinator_id = next(number for number in NODES if number != coordinator.coordinator_id)
        committed = await reader.committed(AiokafkaPartition(*place))
    finally:
        await reader.stop()

    assert 7 == committed


async def open_guard(config: KafkaConfig, topics: Topics, prefix: str) -> LogGuard:
    ids = TopicIds(config, [topics.events])
    await ids.start()
    return LogGuard(config, group=f"{prefix}group", ids=ids)


async def look(guard: LogGuard, place: Place, position: int, reads: Sequence[RecordTime] = ()) -> tuple[int, list[int]]:
    """Faults, and where reading begins again, of a look that was answered."""

    async def ask() -> tuple[int, list[int]]:
        finding = await guard.look({place: position}, {place: reads})
        assert finding.reached.keys() == {place}  # the leader is new
        guard.accept(finding)
        return len(finding.faults), list(finding.doubts.values())

    return await eventually(ask, timeout_s=60)


def write(cluster: KafkaCluster, topics: Topics, count: int) -> RecordTime:
    """Write records; the last one."""
    client = PlainClient(cluster.servers)
    client.write(topics.events, [(b"a", b"%d" % number) for number in range(count)], partition=0)
    last = client.read(topics.events)[-1]
    return RecordTime(last.offset() or 0, last.timestamp()[1])


async def test_a_commit_behind_a_change_of_leader_is_no_loss(cluster: KafkaCluster, prefix: str) -> None:
    """Committed between the change and the next look at the log, by a process that then ends: nothing is reported."""
    config, topics = await make_topics(cluster, prefix)
    place = (topics.events.name, 0)
    await asyncio.to_thread(write, cluster, topics, 3)
    guard = await open_guard(config, topics, prefix)
    before = await look(guard, place, 3)
    await move_leader(cluster, place)
    last = await asyncio.to_thread(write, cluster, topics, 2)
    committer = Consumer({"bootstrap.servers": cluster.servers, "group.id": f"{prefix}group"}, logger=None)
    committed = TopicPartition(*place, 5, metadata=guard.note_for(place, last))
    await asyncio.to_thread(committer.commit, offsets=[committed], asynchronous=False)
    committer.close()
    after = await look(await open_guard(config, topics, prefix), place, 5)

    assert (0, []) == before
    assert (0, [3]) == after
    assert (0, []) == await look(guard, place, 5, [last])


async def test_the_end_of_a_transaction_behind_a_change_of_leader_is_no_loss(
    cluster: KafkaCluster, prefix: str
) -> None:
    """No record was read under the new leader, and the position has moved on."""
    config, topics = await make_topics(cluster, prefix)
    place = (topics.events.name, 0)
    producer = Producer({"bootstrap.servers": cluster.servers, "transactional.id": prefix})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    producer.produce(topics.events.name, key=b"a", value=b"1", partition=0)
    await asyncio.to_thread(producer.flush, 30)
    guard = await open_guard(config, topics, prefix)
    await look(guard, place, 0)
    await move_leader(cluster, place)
    await asyncio.to_thread(producer.commit_transaction, 30)
    (record,) = await asyncio.to_thread(PlainClient(cluster.servers).read, topics.events)
    read = RecordTime(record.offset() or 0, record.timestamp()[1])

    assert (0, [1]) == await look(guard, place, 2, [read])


async def test_a_group_reads_on_behind_it_as_well(cluster: KafkaCluster, prefix: str) -> None:
    """The record's leader is not that of the end of its transaction, in what is committed and in what is read."""
    config, topics = await make_topics(cluster, prefix)
    place, clerk = (topics.events.name, 0), Clerk()
    producer = Producer({"bootstrap.servers": cluster.servers, "transactional.id": prefix})
    await asyncio.to_thread(producer.init_transactions, 30)
    async with consume(config, clerk, prefix, topics.events) as consumer:
        producer.begin_transaction()
        producer.produce(topics.events.name, key=b"a", value=b"1", partition=0)
        await asyncio.to_thread(producer.flush, 30)
        await move_leader(cluster, place)
        await asyncio.to_thread(producer.commit_transaction, 30)
        await eventually(lambda: clerk.ends_read.get(place) == 2, timeout_s=60)
        consumer.commit({place: Committed(2)})
        await eventually(lambda: clerk.results == ["ok"])
        await move_leader(cluster, place)
        await asyncio.to_thread(write, cluster, topics, 1)
        await eventually(lambda: len(clerk.records) == 2, timeout_s=60)
    asking = Consumer({"bootstrap.servers": cluster.servers, "group.id": f"{prefix}group"}, logger=None)
    (committed,) = await asyncio.to_thread(asking.committed, [TopicPartition(*place)], 30)
    asking.close()
    reached = {place: Reached(committed.offset, 0, committed.leader_epoch)}

    assert 2 == committed.offset
    assert [] == await asyncio.to_thread(find_cuts, config, reached)
    assert [] == clerk.faults
