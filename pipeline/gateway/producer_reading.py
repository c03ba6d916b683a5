"""Dead letters of producers' topics, read once more: what has become an event since is written as that."""

import re

from pipeline.config import KafkaConfig
from pipeline.core.events.event import Unreadable
from pipeline.core.events.producer_record import (
    ProducerRecord,
    find_application_id,
    find_schema_id,
    find_topic_pattern,
    read_record,
)
from pipeline.core.events.records import to_bytes
from pipeline.gateway.schema_registry import RegistryUnavailableError, SchemaRegistry
from pipeline.postgres.archive.dead_letters import ArchivedLetter, LetterContent

# What a dead letter holds besides the record, with room to spare.
ENVELOPE_MAX_BYTES = 8 * 1024


class ProducerReading:
    """Reads by the registry that gateways read producers' topics with."""

    def __init__(self, registry: SchemaRegistry, config: KafkaConfig) -> None:
        self._registry = registry
        self._prefix = prefix = config.topic_prefix
        self._value_max_bytes = config.record_max_bytes - ENVELOPE_MAX_BYTES
        self._pattern = re.compile(find_topic_pattern(prefix))

    def is_of_producers(self, topic: str) -> bool:
        """Is the topic one of an application's producers?"""
        return self._pattern.fullmatch(topic) is not None

    async def read(self, letter: ArchivedLetter, content: LetterContent) -> tuple[bytes, bytes] | str:
        """Key and value of the event of a letter of such a topic, or the reason why there is none.

        An event without an id of its own gets it from the place where the record was, so that it is the same however
        often it is read.
        """
        record = ProducerRecord(
            topic=letter.source_topic,
            partition=letter.source_partition,
            offset=letter.source_offset,
            key=content.source_key,
            value=content.source_value,
            headers=tuple(content.source_headers),
            timestamp_us=letter.died_at_us,
        )
        schema_id = find_schema_id(record)
        if schema_id is not None:
            try:
                await self._registry.learn(schema_id)
            except RegistryUnavailableError as error:
                return f"the schema registry does not answer: {error}"
        application_id = find_application_id(self._prefix, letter.source_topic)
        event = read_record(record, application_id, self._registry.read, now_us=letter.died_at_us)
        if isinstance(event, Unreadable):
            return event.detail
        value = to_bytes(event)
        if len(value) > self._value_max_bytes:
            return f"the event has {len(value)} bytes; it may have {self._value_max_bytes}"
        return application_id.encode(), value
