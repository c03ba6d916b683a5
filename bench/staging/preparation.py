"""Preparations before a load begins: a full archive, retries that wait for their time."""

from collections.abc import Callable, Sequence

from uuid_utils import uuid4, uuid7

from bench.cases.scenario import FullArchive, Preparation, ScheduledRetries
from bench.errors import BenchError
from bench.staging.installation import Installation
from bench.staging.provisioning import EVENT_TYPE, Provisioned
from pipeline.clock import wall_us
from pipeline.config import KafkaConfig
from pipeline.core.events.records import Delivery, to_bytes
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.metrics import Metrics
from pipeline.postgres.archive.filling import fill_archive
from pipeline.postgres.pool import Pool
from pipeline.topics import declare_topics_for

HOUR_US = 3_600_000_000
DUE_IN_US = (3 * HOUR_US, 12 * HOUR_US)
ATTEMPT_NUMBER = 6
LINGER_MS = 5
BATCH = 1000


async def prepare(
    preparation: Preparation | None,
    *,
    installation: Installation,
    kafka: KafkaConfig,
    pool: Pool | None,
    groups: Sequence[Provisioned],
    payload: str,
    on_step: Callable[[str], None],
) -> None:
    """Prepare the installation. `kafka`: its settings but for the address. Raises `BenchError` when it cannot be done
    here.
    """
    match preparation:
        case None:
            return
        case FullArchive(rows=rows):
            if pool is None:
                raise BenchError("a full archive needs the database: say --database-url")
            now_us = wall_us()
            await fill_archive(
                pool, rows, now_us=now_us, progress=lambda done: on_step(f"filling the archive: {done:,} rows ...")
            )
        case ScheduledRetries(deliveries=deliveries):
            if not installation.kafka:
                raise BenchError("scheduled retries are written to Kafka: say --kafka")
            on_step(f"scheduling {deliveries:,} retries ...")
            config = kafka.model_copy(update={"bootstrap_servers": installation.kafka})
            await _schedule_retries(config, groups, deliveries, payload.encode())


async def _schedule_retries(
    config: KafkaConfig, groups: Sequence[Provisioned], deliveries: int, payload: bytes
) -> None:
    """Schedule retries like the http sink: in the tier of the longest delay, which each may pass several times."""
    topics = declare_topics_for(config)
    tier = topics.retries[-1]
    places = [(group.application_ids[0], each) for group in groups for each in group.subscription_ids]
    now_us = wall_us()
    producer = LogProducer(config, Metrics("bench"), linger_ms=LINGER_MS)
    try:
        for first in range(0, deliveries, BATCH):
            records = []
            for number in range(first, min(first + BATCH, deliveries)):
                application_id, subscription_id = places[number % len(places)]
                earliest_us, latest_us = DUE_IN_US
                retry = Delivery(
                    delivery_id=str(uuid4()),
                    subscription_id=subscription_id,
                    application_id=application_id,
                    event_id=str(uuid7()),
                    event_type=".".join(EVENT_TYPE),
                    payload=payload,
                    payload_content_type="application/json",
                    appended_at_us=now_us,
                    received_at_us=now_us,
                    matched_at_us=now_us,
                    attempt_number=ATTEMPT_NUMBER,
                    due_at_us=now_us + earliest_us + (latest_us - earliest_us) * number // deliveries,
                )
                records.append((tier, subscription_id.encode(), to_bytes(retry)))
            await (await producer.send_patiently(records))
    except KafkaUnavailableError as error:
        raise BenchError(f"Kafka at {config.bootstrap_servers} did not take the retries: {error}") from error
    finally:
        await producer.close()
