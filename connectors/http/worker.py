"""The deliver process: the http sink, wired."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from connectors.http.client.client import HttpClient
from connectors.http.client.divided import DividedClient
from connectors.http.client.lookup import warm_up
from connectors.http.client.tls import TlsContexts
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.key_watch import KeyWatch
from connectors.http.ledger import Ledger
from connectors.http.outbox import Outbox
from connectors.http.payloads.payloads import Payloads
from connectors.http.payloads.sources import ArchiveSource, LogSource, PayloadSource
from connectors.http.payloads.spool import Spool
from connectors.http.shortages import Shortages
from connectors.http.sink import HttpSink
from connectors.runtime.runtime import Runtime
from connectors.sink import LogRecord
from pipeline.aside import Aside
from pipeline.config import DatabaseConfig
from pipeline.kafka.admin import verify_topics
from pipeline.kafka.endpoint_states_view import EndpointStatesView
from pipeline.kafka.endpoints_view import EndpointsView
from pipeline.kafka.holding_writer import PRODUCE_TIMEOUT_S, HoldingWriter
from pipeline.kafka.log_clock import LogClock
from pipeline.kafka.producer import LogProducer
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.read_probe import ReadProbe
from pipeline.kafka.republishing import ask_regularly
from pipeline.kafka.smaller import Smaller
from pipeline.kafka.tail import read_tail
from pipeline.kafka.throttles import THROTTLES
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.postgres.pool import Pool, open_pool
from pipeline.process import Process
from pipeline.sealing_keys import load_sealer
from pipeline.topics import declare_topics_for

SWEEP_INTERVAL_S = 1.0
LOOK_SWEEPS = 5  # a look through 100,000 endpoints takes tens of milliseconds
TAIL_MAX_RECORDS = 50_000
ARCHIVE_CONNECTIONS_MAX = 2


async def main(process: Process) -> None:
    """Deliver until `stopping` is set; then let requests in flight end, commit, and leave the group."""
    settings = process.settings
    sealer = load_sealer(settings.sealing)
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    ids, faults = TopicIds(settings.kafka, topics.of_deliver()), ReadFaults(process.metrics)
    await ids.start()
    endpoints = EndpointsView(settings.kafka, topics.endpoints, faults, ids)
    await endpoints.start()
    states = EndpointStatesView(settings.kafka, topics.endpoint_states, faults, ids)
    await states.start()
    states.keep(endpoints.is_alive)
    clock, shortages = LogClock(process.metrics), Shortages(process.metrics)
    process.health.degraded["clock"] = clock.check
    process.supervisor.start("clock", clock.watch())
    keys = KeyWatch(endpoints, sealer, process.metrics, clock_us=clock.now_us)
    keys.verify()
    producer = LogProducer(settings.kafka, process.metrics, timeout_s=PRODUCE_TIMEOUT_S, clock=clock)
    await producer.warm_up()
    writer = HoldingWriter(
        producer,
        topics.of_outcomes(),
        replace=Smaller(topics, clock.now_us, on_dead=lambda reason: process.metrics.dead_total.labels(reason).inc()),
        metrics=process.metrics,
        process=process.name,
    )
    process.health.ready["writing"] = writer.check
    process.supervisor.start("writing", writer.run())
    tls = TlsContexts()
    tls.find(None)  # reads the system's authorities while there are files to be had
    await asyncio.to_thread(warm_up)
    client = DividedClient(lambda: HttpClient(settings.deliver, tls=tls))
    memory = EndpointMemory(
        settings.deliver,
        settings.worker,
        states=states,
        sealer=sealer,
        metrics=process.metrics,
        clock_us=clock.now_us,
        find_endpoint=endpoints.get,
    )

    def forget(subscription_id: str) -> None:
        memory.forget(subscription_id)
        states.forget(subscription_id)

    endpoints.on_deleted = forget

    async def read_attempts(starts: Mapping[int, int]) -> tuple[Sequence[LogRecord], Mapping[int, int]]:
        # a topic of deliveries that was grown has partitions without attempts
        declared = {each: start for each, start in starts.items() if each < topics.attempts.partitions}
        return await asyncio.to_thread(
            read_tail, settings.kafka, topics.attempts, declared, records_max=TAIL_MAX_RECORDS, faults=faults
        )

    ledger = Ledger(topics.deliveries.name, read_tail=read_attempts, recent_max=settings.worker.recent_ids_max)
    sources: list[PayloadSource] = [
        LogSource(
            settings.kafka, topics.events, Aside("payloads"), beside_min_bytes=settings.matcher.payload_inline_max_bytes
        )
    ]
    if settings.database.is_given:
        sources.append(ArchiveSource(lambda: _connect_to_archive(settings.database)))
    spool = Spool(settings.deliver.spool_max_bytes, settings.deliver.spool_dir)
    payloads = Payloads(sources, spool, Aside("spool"), process.metrics)
    outbox = Outbox(topics, writer, process.metrics, clock_us=clock.now_us)
    sink = HttpSink(
        settings,
        topics,
        endpoints=endpoints,
        memory=memory,
        client=client,
        ledger=ledger,
        outbox=outbox,
        payloads=payloads,
        keys=keys,
        shortages=shortages,
        clock_us=clock.now_us,
        metrics=process.metrics,
        tracing=process.tracing,
    )
    runtime = Runtime(
        sink,
        kafka=settings.kafka,
        config=settings.worker,
        metrics=process.metrics,
        group=f"{settings.kafka.topic_prefix}deliver",
        lead=[topics.deliveries],
        companions=topics.retries,
        open_max=settings.worker.max_connections,
        parking=sink.parking,
        bookmark=ledger,
        faults=faults,
        skips_probes=True,
        clock_us=clock.now_us,
        ids=ids,
        reads_traces=process.tracing is not None,
        run_dir=settings.process.run_dir,
    )
    watch = TopicWatch(settings.kafka, topics.of_deliver(), process.metrics)
    process.health.ready["topics"] = watch.check
    process.supervisor.start("topic_watch", watch.run())
    reading = ReadProbe(settings.kafka, [topics.deliveries, *topics.retries])
    process.health.ready["reading"] = reading.check
    process.supervisor.start("reading", reading.run())
    process.health.ready["endpoints"] = endpoints.check
    process.health.ready["sealing_keys"] = keys.check
    process.health.ready["local"] = shortages.check
    process.health.ready["group"] = runtime.check_group
    process.health.ready["log"] = faults.check
    process.supervisor.start("topic_ids", ids.run())
    process.health.ready["movement"] = runtime.check_movement
    process.health.ready["quotas"] = THROTTLES.check
    process.health.alive["progress"] = runtime.check
    asking = ask_regularly(
        endpoints, topics.endpoints, producer, topics.endpoint_states, process=process.name, clock_us=clock.now_us
    )
    process.supervisor.start("asking", asking)
    process.supervisor.start("sweeping", _sweep_regularly(client, sink, outbox, keys, clock, name=process.name))
    process.supervisor.start("announcing", runtime.announce(process.announce_ready))
    await runtime.run(process.stopping, together=process.supervisor.run_together)
    await process.supervisor.stop()
    await producer.close()
    client.close()
    await payloads.close()
    await endpoints.close()
    await states.close()


async def _connect_to_archive(config: DatabaseConfig) -> Pool:
    return await open_pool(config, config.write_url, name="deliver", size_max=ARCHIVE_CONNECTIONS_MAX, is_needed=False)


async def _sweep_regularly(
    client: DividedClient, sink: HttpSink, outbox: Outbox, keys: KeyWatch, clock: LogClock, *, name: str
) -> None:
    for sweep in itertools.count(1):
        await asyncio.sleep(SWEEP_INTERVAL_S)
        client.sweep()
        sink.learning.publish_states(clock.now_us())
        open_requests = sink.open_requests.take_long(name, clock.now_us())
        if open_requests is not None:
            outbox.publish_open_requests(open_requests)
        if sweep % LOOK_SWEEPS == 0:
            keys.look()
