"""The matcher process: a Faust app over the events topic, wired to the producer and the view of the routes."""

import asyncio
import math
import shutil
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP
from yarl import URL

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import LogEnds, verify_topics
from pipeline.kafka.damage.unpacking import bound_unpacking
from pipeline.kafka.endpoint_states_view import EndpointStatesView
from pipeline.kafka.group.former import Former, MemberFile
from pipeline.kafka.group.standing import Standing
from pipeline.kafka.holding_writer import PRODUCE_TIMEOUT_S, HoldingWriter
from pipeline.kafka.log_clock import LogClock
from pipeline.kafka.log_guard import LogGuard
from pipeline.kafka.producer import LogProducer
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.read_probe import ReadProbe
from pipeline.kafka.republishing import ask_regularly
from pipeline.kafka.routes_view import RoutesView
from pipeline.kafka.smaller import Smaller
from pipeline.kafka.throttles import THROTTLES
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.matcher.chunks import CODEC, Scheduler, register_codec, schedule_chunks
from pipeline.matcher.consumer import Consumer, Transport, consumer_of
from pipeline.matcher.deliver_progress import DeliverProgress
from pipeline.matcher.detours import Detours
from pipeline.matcher.guarding import count_missing, guard_log
from pipeline.matcher.intake import Intake
from pipeline.matcher.matching import Matcher
from pipeline.matcher.progress import Progress
from pipeline.matcher.stalls import Stalls
from pipeline.matcher.tables import NoTables
from pipeline.metrics import Metrics
from pipeline.pressure import Pressure
from pipeline.process import Process
from pipeline.topics import declare_topics_for

DRAIN_TIMEOUT_S = 10.0
# Between looks for acknowledgements: only the commits wait for them, and each look is a wake-up.
PACE_MIN_S = 0.01
# From one fetch to the next, where processors are short.
FETCH_GATHER_MAX_S = 0.15
WATCH_INTERVAL_S = 1.0
ENDS_INTERVAL_S = 5.0
ENDS_TIMEOUT_S = 10.0
METADATA_MAX_AGE_MS = 3_000

log = structlog.get_logger()


async def main(process: Process) -> None:
    """Match until the process stops; then settle writes in flight, commit, and leave the group."""
    settings, config = process.settings, process.settings.matcher
    group = f"{settings.kafka.topic_prefix}matcher"
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    ids, faults = TopicIds(settings.kafka, topics.of_matcher()), ReadFaults(process.metrics)
    await ids.start()
    ends = LogEnds(settings.kafka)
    routes = RoutesView(
        settings.kafka, topics.routes, history_max=config.routes_history_max, faults=faults, ids=ids, ends=ends
    )
    await routes.start()
    states = EndpointStatesView(settings.kafka, topics.endpoint_states, faults, ids)
    await states.start()
    clock = LogClock(process.metrics)
    process.health.degraded["clock"] = clock.check
    process.supervisor.start("clock", clock.watch())
    pressure = Pressure()
    producer = LogProducer(
        settings.kafka,
        process.metrics,
        timeout_s=PRODUCE_TIMEOUT_S,
        pace_min_s=PACE_MIN_S,
        clock=clock,
        pressure=pressure,
    )
    await producer.warm_up()
    deliver_progress = DeliverProgress(
        settings.kafka, topics.deliveries, bound_min=config.unsettled_max, count_on_way=lambda: len(producer)
    )
    matcher = Matcher(
        topics,
        routes,
        process.metrics,
        outstanding=deliver_progress.outstanding,
        recent_ids_max=config.recent_ids_max,
        record_max_bytes=settings.kafka.record_max_bytes,
        payload_inline_max_bytes=config.payload_inline_max_bytes,
        routes_wait_s=config.routes_wait_s,
        clock_us=clock.now_us,
        tracing=process.tracing,
        is_failing=states.is_failing,
    )
    bound_unpacking(settings.kafka.batch_unpacked_max_bytes)
    standing = Standing(group, session_timeout_s=settings.kafka.session_timeout_s)
    app = build_app(
        settings.kafka,
        scheduler=schedule_chunks(config.chunk_max_records, lambda: progress.assignment),
        faults=faults,
        standing=standing,
    )
    ready = asyncio.Event()

    guard = LogGuard(settings.kafka, group=group, ids=ids)

    async def commit(watermark: Mapping[TP, int]) -> bool:
        await guard.read_former([(tp.topic, tp.partition) for tp in watermark])
        return await consumer_of(app).commit_offsets(watermark)

    progress = Progress(
        commit,
        process.metrics,
        in_flight_max=config.chunks_in_flight_max,
        commit_interval_s=config.commit_interval_s,
    )
    writer = HoldingWriter(
        producer,
        topics.of_matcher_output(),
        replace=Smaller(topics, clock.now_us, on_dead=lambda reason: process.metrics.dead_total.labels(reason).inc()),
        metrics=process.metrics,
        process=process.name,
    )
    process.health.ready["writing"] = writer.check
    process.supervisor.start("writing", writer.run())
    intake = Intake(
        matcher,
        writer,
        progress,
        process.metrics,
        ahead_max_records=config.ahead_max_records,
        ahead_max_bytes=config.ahead_max_bytes,
        clock_us=clock.now_us,
    )
    stalls, detours = Stalls(), Detours(settings.kafka, reads_traces=settings.tracing.enabled)
    events = app.topic(topics.events.name, value_serializer=CODEC, key_serializer="raw", acks=False)

    @app.agent(events, concurrency=1)
    async def match(stream: Any) -> None:
        async for event in stream.noack().events():
            await intake.take(event.value)
            # the producer writes in steps; one fetch fills two of them
            consumer_of(app).pace.pace_s = 2 * producer.pace_s
            consumer_of(app).pace.least_s = pressure.gather_s(FETCH_GATHER_MAX_S)

    @app.on_partitions_revoked.connect
    async def give_away(*_: Any, **__: Any) -> None:
        await finish(intake.drain(), process)
        intake.forget()
        guard.forget()
        consumer_of(app).reading.forget()

    @app.on_partitions_assigned.connect
    async def take_over(*sent: Any, **_: Any) -> None:
        _, assigned = sent
        process.log.info("assigned", partitions=sorted(tp.partition for tp in assigned))
        consumer_of(app).note_for = guard.note_for
        await asyncio.to_thread(former.note, consumer_of(app).member_id)
        standing.beat()
        ready.set()

    former = Former(settings.kafka, group, MemberFile(settings.process.run_dir, group))

    async def follow() -> None:
        await asyncio.to_thread(former.leave)
        await app.start()
        await ready.wait()
        process.announce_ready()
        retention_s = settings.kafka.event_retention_s
        await watch(app, progress, process.metrics, retention_s=retention_s, clock_us=clock.now_us)

    async def read_detours() -> None:
        await ready.wait()
        await detours.run(consumer_of(app))

    topic_watch = TopicWatch(settings.kafka, topics.of_matcher(), process.metrics)
    process.health.ready["topics"] = topic_watch.check
    process.supervisor.start("topic_watch", topic_watch.run())
    reading = ReadProbe(settings.kafka, [topics.events])
    process.health.ready["reading"] = reading.check
    process.supervisor.start("reading", reading.run())
    process.health.ready["routes"] = routes.check
    process.health.ready["group"] = lambda: standing.check(has_partitions=ready.is_set())
    process.health.ready["log"] = faults.check
    process.health.ready["detours"] = detours.check
    process.health.degraded["transactions"] = guard.check
    process.health.degraded["quotas"] = THROTTLES.check
    process.health.alive["progress"] = progress.check
    asking = ask_regularly(
        routes, topics.routes, producer, topics.endpoint_states, process=process.name, clock_us=clock.now_us
    )
    process.supervisor.start("asking", asking)
    process.supervisor.start("matching", intake.run())
    process.supervisor.start("settling", progress.settle_regularly())
    process.supervisor.start("committing", progress.commit_regularly())
    process.supervisor.start("following", follow())
    process.supervisor.start("topic_ids", ids.run())
    process.supervisor.start("detours", read_detours())
    process.supervisor.start("deliver_progress", deliver_progress.run())
    process.supervisor.start("guarding", guard_log(app, guard, stalls, intake, progress, ready, process.metrics))
    try:
        await process.stopping.wait()
        await finish(intake.close(), process)
        await process.supervisor.stop()
    finally:
        await finish(app.stop(), process)
        former.close()
        detours.close()
        shutil.rmtree(app.conf.datadir, ignore_errors=True)  # empty directories, which Faust made
    await producer.close()
    deliver_progress.close()
    await routes.close()
    await states.close()
    await ends.close()


async def finish(work: Awaitable[None], process: Process) -> None:
    """Wait for `work`, within bounds: the partition's next owner begins behind the last commit."""
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await work
    except TimeoutError:
        process.log.warning("drain_timed_out", timeout_s=DRAIN_TIMEOUT_S)


async def watch(
    app: faust.App, progress: Progress, metrics: Metrics, *, retention_s: int, clock_us: Callable[[], int]
) -> None:
    """Runs until Faust gives up, and raises why. Measures the lag, and how near to retention it is, meanwhile."""
    consumer, retention_us = consumer_of(app), retention_s * 1_000_000
    ends: Mapping[TP, int] = {}
    asked_at_s = -math.inf
    # Polled: Faust marks itself as crashed from another thread, which wakes no task of this loop.
    while not app.should_stop:
        if time.monotonic() - asked_at_s >= ENDS_INTERVAL_S:
            ends, asked_at_s = await ask_ends(consumer), time.monotonic()
        lags = {}
        for tp in consumer.assignment():
            position, fetched = consumer.reading.reached(tp), consumer.highwater(tp)
            if position is not None:
                progress.pass_over(tp, consumer.reading.next_offset(tp), position)
            settled = progress.settled(tp)
            if settled is None:
                settled = position
            if settled is not None and fetched is not None:
                lags[tp] = max(0, fetched - settled, ends.get(tp, 0) - settled)
        for gauge in (metrics.lag_records, metrics.lag_seconds, metrics.retention_used_ratio):
            gauge.clear()
        for tp, lag in lags.items():
            metrics.lag_records.labels(tp.topic, tp.partition).set(lag)
            age_us = consumer.reading.measure_age_us(tp, progress.settled(tp) or 0, clock_us(), is_done=not lag)
            metrics.lag_seconds.labels(tp.topic, tp.partition).set(age_us / 1_000_000)
            metrics.retention_used_ratio.labels(tp.topic, tp.partition).set(age_us / retention_us)
        metrics.runnable_lag_records.set(sum(lags.values()))
        await count_missing(consumer, metrics)
        await asyncio.sleep(WATCH_INTERVAL_S)
    if app.crash_reason is not None:
        raise app.crash_reason
    raise RuntimeError("Faust has stopped by itself")


async def ask_ends(consumer: Consumer) -> Mapping[TP, int]:
    """The ends of the partitions. Those of the last fetch stand still when fetches do, and the lag would show 0."""
    try:
        async with asyncio.timeout(ENDS_TIMEOUT_S):
            return dict(await consumer.highwaters(*consumer.assignment()))
    except (KafkaError, TimeoutError) as error:
        log.warning("ends_not_asked", reason=f"{type(error).__name__}: {error}")
        return {}


def build_app(config: KafkaConfig, *, scheduler: Scheduler, faults: ReadFaults, standing: Standing) -> faust.App:
    """A Faust app that only reads: it keeps no tables, serves no web pages and acknowledges nothing by itself."""
    register_codec()
    servers = [URL(f"kafka://{server}") for server in config.bootstrap_servers.split(",")]
    app = faust.App(
        standing.group,
        broker=servers,
        broker_credentials=_choose_credentials(config),
        # a killed worker's partitions are taken over after this, not after Faust's 60 s
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.session_timeout_s / 3.5,
        broker_request_timeout=config.session_timeout_s + 5,
        # latency: answer as soon as there is a record
        consumer_max_fetch_size=config.record_max_bytes,
        consumer_auto_offset_reset="earliest",
        # a topic that was made again is found, and its partitions assigned, within this
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        ConsumerScheduler=scheduler,
        topic_allow_declare=False,
        topic_disable_leader=True,
        datadir=Path(tempfile.mkdtemp(prefix="hookline-matcher-")),
        store="memory://",
        TableManager=NoTables,
        table_standby_replicas=0,  # no tables: the plain round-robin assignor, which every client knows
        web_enabled=False,
        loghandlers=[],
        # a chunk counts as one message here
        stream_buffer_maxsize=2,
        stream_wait_empty=False,
    )
    app.transport = Transport(servers, app, faults, standing)
    return app


def _choose_credentials(config: KafkaConfig) -> Any:
    if config.username is not None:
        return faust.SASLCredentials(
            username=config.username,
            password=config.password.get_secret_value() if config.password else "",
            mechanism=config.sasl_mechanism,
            ssl_context=_trust(config) if config.tls else None,
        )
    return faust.SSLCredentials(context=_trust(config)) if config.tls else None


def _trust(config: KafkaConfig) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
