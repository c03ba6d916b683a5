"""The archive process: the archive sink, wired, and the care of day partitions."""

import asyncio

from connectors.postgres.rows import RowBuilder
from connectors.postgres.sink import ArchiveSink
from connectors.runtime.runtime import Runtime
from pipeline.kafka.admin import verify_topics
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.read_probe import ReadProbe
from pipeline.kafka.throttles import THROTTLES
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.ledger.watch import LedgerWatch
from pipeline.postgres import migrations
from pipeline.postgres.archive.lock_holder import LockHolder
from pipeline.postgres.archive.outage import Outage
from pipeline.postgres.archive.upkeep import Upkeep
from pipeline.postgres.archive.writer import ArchiveWriter
from pipeline.pressure import Pressure
from pipeline.process import Process
from pipeline.topics import declare_topics_for


async def main(process: Process) -> None:
    """Archive until `stopping` is set; then finish the batch in hand and leave the group."""
    settings = process.settings
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    await asyncio.to_thread(migrations.verify, settings.database.write_url.get_secret_value())
    ids, faults = TopicIds(settings.kafka, topics.of_archive()), ReadFaults(process.metrics)
    await ids.start()
    writer, outage = ArchiveWriter(settings.database, on_reused=process.metrics.ids_reused_total.inc), Outage()
    for topic in topics.of_archive():
        process.metrics.set_aside_total.labels(topic.name)
    rows = RowBuilder(topics, compress_min_bytes=settings.archive.compress_min_bytes)
    sink = ArchiveSink(
        writer,
        rows,
        outage,
        settings.archive,
        process.metrics,
        ids,
        faults,
        pressure=Pressure(),
        tracing=process.tracing,
    )
    runtime = Runtime(
        sink,
        kafka=settings.kafka,
        config=settings.worker,
        metrics=process.metrics,
        group=f"{settings.kafka.topic_prefix}archive",
        lead=topics.of_archive(),
        open_max=1,
        positions=sink.positions,
        batch_max=settings.archive.batch_max_records,
        linger_s=settings.archive.linger_s,
        faults=faults,
        ids=ids,
        reads_traces=process.tracing is not None,
        run_dir=settings.process.run_dir,
    )
    upkeep = Upkeep(settings.database, settings.archive, process.metrics)
    watch = TopicWatch(settings.kafka, topics.of_archive(), process.metrics)
    process.health.ready["topics"] = watch.check
    process.supervisor.start("topic_watch", watch.run())
    reading = ReadProbe(settings.kafka, topics.of_archive())
    process.health.ready["reading"] = reading.check
    process.supervisor.start("reading", reading.run())
    holder = LockHolder(settings.database, outage)
    process.health.ready["postgres"] = holder.check
    process.supervisor.start("lock_holder", holder.run())
    process.health.ready["retention"] = upkeep.check
    process.health.degraded["upkeep"] = upkeep.check_failures
    process.health.ready["group"] = runtime.check_group
    process.health.ready["log"] = faults.check
    process.supervisor.start("topic_ids", ids.run())
    process.health.ready["movement"] = runtime.check_movement
    process.health.ready["quotas"] = THROTTLES.check
    # a restart ends no outage: a batch or an assignment that waits for PostgreSQL is no reason for one
    process.health.alive["progress"] = lambda: None if outage.check() is not None else runtime.check()
    process.supervisor.start("upkeep", upkeep.run())
    ledger = LedgerWatch(settings.kafka, settings.database, settings.archive, topics, process.metrics)
    process.supervisor.start("ledger", ledger.run())
    process.supervisor.start("owners", sink.watch_owners())
    process.supervisor.start("announcing", runtime.announce(process.announce_ready))
    await runtime.run(process.stopping, together=process.supervisor.run_together)
    await process.supervisor.stop()
    await writer.close()
