"""Events from producers' topics: read, checked as those over HTTP where that is possible, and written as events.

A record that is no event becomes a dead letter. One that cannot be judged yet holds up its partition: the schema
registry or Kafka does not answer, or the daily quota is used up.
"""

from collections.abc import Mapping, Sequence

import structlog

from pipeline.core.events.dead_letters import DETAIL_MAX_CHARS, KEY_MAX_BYTES, make_dead_letter
from pipeline.core.events.event import Unreadable
from pipeline.core.events.producer_record import ProducerRecord, find_application_id, find_schema_id, read_record
from pipeline.core.events.records import to_bytes
from pipeline.core.trace_context import TraceHeaders, pick_headers
from pipeline.gateway.context import Gateway
from pipeline.gateway.producer_reading import ENVELOPE_MAX_BYTES
from pipeline.gateway.schema_learning import SchemaLearning, SchemaTurns
from pipeline.gateway.schema_registry import RegistryUnavailableError, SchemaRegistry
from pipeline.kafka.failures import KafkaUnavailableError, RecordRefusedError, ToSend, trace
from pipeline.kafka.record import Place

HEADERS_MAX_BYTES = 4 * 1024

log = structlog.get_logger()


class ProducerIntake:
    """One gateway's; `take` is handed to `ProducerTopics`."""

    def __init__(self, gateway: Gateway, registry: SchemaRegistry) -> None:
        self._gateway = gateway
        self._registry = registry
        self._learning = SchemaLearning(registry)
        self._prefix = gateway.settings.kafka.topic_prefix
        self._value_max_bytes = gateway.settings.kafka.record_max_bytes - ENVELOPE_MAX_BYTES

    async def take(self, records: Sequence[ProducerRecord]) -> Mapping[Place, int]:
        """Write what they lead to; the next offset of each partition, up to which all is in the log."""
        held: set[Place] = set()
        led_on: list[tuple[ProducerRecord, ToSend]] = []
        accepted: dict[str, int] = {}
        turns = SchemaTurns()
        for record in records:
            place = (record.topic, record.partition)
            if place in held:
                continue
            application_id = find_application_id(self._prefix, record.topic)
            if await self._is_ready(record, application_id, accepted, turns):
                led_on.append((record, self._lead_on(record, application_id, accepted)))
            else:
                held.add(place)
        failures = await self._write([each for _, each in led_on])
        settled: dict[Place, int] = {}
        for index, (record, to_send) in enumerate(led_on):
            place, failure = (record.topic, record.partition), failures.get(index)
            if place in held:
                continue
            if failure is not None and not await self._give_up_refused(record, failure):
                # what was written behind it is read again with it, under the same ids
                held.add(place)
                continue
            settled[place] = record.offset + 1
            if failure is None and to_send[0] is self._gateway.topics.events:
                self._gateway.usage.count(find_application_id(self._prefix, record.topic))
                self._gateway.metrics.events_ingested_total.inc()
        return settled

    async def _write(self, to_send: Sequence[ToSend]) -> Mapping[int, KafkaUnavailableError]:
        """Write records; those that were not written, by place."""
        try:
            if to_send:
                await self._gateway.producer.send_bytes(to_send)
        except KafkaUnavailableError as error:
            log.warning("producer_topics_wait", reason=str(error))
            by_value = {sent[2]: failure for sent, failure in error.failed}
            return {
                index: by_value.get(each[2], error)
                for index, each in enumerate(to_send)
                if not by_value or each[2] in by_value
            }
        return {}

    async def _give_up_refused(self, record: ProducerRecord, failure: KafkaUnavailableError) -> bool:
        """Write the dead letter of a record that the log does not take while it takes others. False: try it again."""
        gateway = self._gateway
        if not isinstance(failure, RecordRefusedError) or not await gateway.writing.ask(gateway.topics.events):
            return False
        detail = f"the log does not take its event: {failure}"
        letter = self._give_up(record._replace(value=None), Unreadable(reason="unwritable", detail=detail))
        return not await self._write([letter])

    async def _is_ready(
        self, record: ProducerRecord, application_id: str, accepted: Mapping[str, int], turns: SchemaTurns
    ) -> bool:
        """Has the application room today for one more event, and is the schema of the record known?"""
        wanted = accepted.get(application_id, 0) + 1
        if await self._gateway.usage.find_room(application_id, wanted) < wanted:
            return False
        schema_id = find_schema_id(record)
        if schema_id is None:
            return True
        try:
            return await self._learning.learn(schema_id, application_id, turns)
        except RegistryUnavailableError as error:
            log.warning("schema_registry_away", schema_id=schema_id, topic=record.topic, reason=str(error))
            return False

    def _lead_on(self, record: ProducerRecord, application_id: str, accepted: dict[str, int]) -> ToSend:
        """Turn a record into an event, or into its dead letter."""
        now_us = self._gateway.clock.now_us()
        try:
            event = read_record(record, application_id, self._registry.read, now_us=now_us)
        except MemoryError:
            raise  # it says nothing about the record
        except Exception as error:
            # one record must not stop all others
            log.error("record_failed_internally", topic=record.topic, offset=record.offset, exc_info=error)
            self._gateway.metrics.internal_errors_total.inc()
            detail = f"an error inside Hookline: {type(error).__name__}: {str(error)!a}"
            return self._give_up(record, Unreadable(reason="internal", detail=detail))
        if isinstance(event, Unreadable):
            return self._give_up(record, event)
        value = to_bytes(event)
        if len(value) > self._value_max_bytes:
            detail = f"the event has {len(value)} bytes; it may have {self._value_max_bytes}"
            return self._give_up(record, Unreadable(reason="invalid_event", detail=detail))
        accepted[application_id] = accepted.get(application_id, 0) + 1
        return trace((self._gateway.topics.events, application_id.encode(), value), self._pick_trace(record))

    def _give_up(self, record: ProducerRecord, unreadable: Unreadable) -> ToSend:
        self._gateway.metrics.dead_total.labels(unreadable.reason).inc()
        application_id = find_application_id(self._prefix, record.topic)
        value, key, now_us = record.value, record.key, self._gateway.clock.now_us()
        headers_bytes = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
        is_kept = value is not None and len(value) <= self._value_max_bytes and headers_bytes <= HEADERS_MAX_BYTES
        letter = make_dead_letter(
            unreadable.reason,
            unreadable.detail[:DETAIL_MAX_CHARS],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=key if key is None or len(key) <= KEY_MAX_BYTES else None,
            # one without the other could be read as something else
            value=value if is_kept else None,
            headers=record.headers if is_kept else (),
            # the record's own time may be its producer's, and any
            appended_at_us=now_us,
            died_at_us=now_us,
            record_time_us=record.timestamp_us,
            application_id=application_id,
        )
        return trace((self._gateway.topics.dead, application_id.encode(), to_bytes(letter)), self._pick_trace(record))

    def _pick_trace(self, record: ProducerRecord) -> TraceHeaders | None:
        """The trace of the producer, which goes on."""
        return pick_headers(record.headers) if self._gateway.tracing is not None else None
