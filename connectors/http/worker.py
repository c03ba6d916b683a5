"""The deliver process: the http sink, wired."""

import asyncio

from connectors.http.client import HttpClient
from connectors.http.sink import HttpSink
from connectors.runtime import Runtime
from pipeline.kafka.admin import verify_topics
from pipeline.kafka.endpoints_view import EndpointsView
from pipeline.kafka.producer import LogProducer
from pipeline.process import Process
from pipeline.sealing_keys import load_sealer
from pipeline.topics import declare_topics

# Long enough to sit out a broker's restart: what is written here must not be lost.
PRODUCE_TIMEOUT_S = 300.0
SWEEP_INTERVAL_S = 1.0


async def main(process: Process) -> None:
    """Deliver until told to stop; then let requests in flight end, commit, and leave the group."""
    settings = process.settings
    sealer = load_sealer(settings.sealing)
    topics = declare_topics(
        prefix=settings.kafka.topic_prefix,
        partitions=settings.kafka.partitions,
        event_retention_s=settings.kafka.event_retention_s,
    )
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    endpoints = EndpointsView(settings.kafka, topics.endpoints)
    await endpoints.start()
    producer = LogProducer(settings.kafka, process.metrics, linger_ms=1, timeout_s=PRODUCE_TIMEOUT_S)
    client = HttpClient(settings.deliver)
    sink = HttpSink(
        settings,
        topics,
        endpoints=endpoints,
        sealer=sealer,
        client=client,
        producer=producer,
        metrics=process.metrics,
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
    )
    process.health.ready["endpoints"] = endpoints.check
    process.health.ready["group"] = lambda: (
        None if runtime.is_assigned.is_set() else "no partitions have been assigned yet"
    )
    process.health.alive["progress"] = runtime.check
    sweeping = asyncio.create_task(_sweep_regularly(client))
    running = asyncio.create_task(runtime.run(process.stopping))
    ready = asyncio.create_task(runtime.is_assigned.wait())
    await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
    if runtime.is_assigned.is_set():
        process.announce_ready()
    await running
    sweeping.cancel()
    await producer.close()
    client.close()
    await endpoints.close()


async def _sweep_regularly(client: HttpClient) -> None:
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        client.sweep()
