"""Events straight into the events topic, as producers that speak Kafka do: Avro, keyed by the application."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from uuid_utils import uuid7

from pipeline.clock import wall_us
from pipeline.commands.sending.destination import Destination
from pipeline.commands.sending.pace import SendError
from pipeline.config import KafkaConfig
from pipeline.core.events.event import find_problem
from pipeline.core.events.records import Event
from pipeline.core.log.checksum import sum_content
from pipeline.kafka.listening import refuse_closed
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.metrics import Metrics
from pipeline.start_error import StartError
from pipeline.topics import declare_topics_for

LINGER_MS = 1


@asynccontextmanager
async def open_kafka(
    destination: Destination, payload: bytes, content_type: str, config: KafkaConfig
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Yields a function that writes one event and returns its id, or raises `SendError`.

    Raises `StartError` when the matcher would not take such an event.
    """
    topics = declare_topics_for(config)

    def build() -> Event:
        now_us = wall_us()
        event_id = str(uuid7())
        return Event(
            application_id=destination.application_id,
            event_id=event_id,
            event_type=destination.event_type,
            payload=payload,
            payload_content_type=content_type,
            labels=destination.labels,
            occurred_at_us=now_us,
            received_at_us=now_us,
            content_crc32=sum_content(event_id, destination.event_type, content_type, payload),
        )

    problem = find_problem(build())
    if problem is not None:
        raise StartError(problem)
    await asyncio.to_thread(refuse_closed, config)
    producer = LogProducer(config, Metrics("send"), linger_ms=LINGER_MS)

    async def send() -> str:
        event = build()
        try:
            await producer.send(topics.events, event.application_id, event)
        except KafkaUnavailableError as error:
            raise SendError(
                f"Kafka at {config.bootstrap_servers} did not take it into {topics.events.name}: {error}. Does it run, "
                "is HOOKLINE_KAFKA_BOOTSTRAP_SERVERS right, are the topics there (`hookline topics plan`)?"
            ) from error
        return event.event_id

    try:
        yield send
    finally:
        await producer.close()
