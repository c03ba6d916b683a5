"""Records of a chunk become what has to be written: deliveries, one dispatch an event, dead letters."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog

from pipeline.core.events.bundle import SUBSCRIPTIONS_MAX, narrow, single_out
from pipeline.core.events.claim_check import NOWHERE, writes_claim_checks
from pipeline.core.events.dead_letters import DETAIL_MAX_CHARS, KEY_MAX_BYTES, make_dead_letter
from pipeline.core.events.event import Unreadable, parse_event
from pipeline.core.events.fingerprint import fingerprint
from pipeline.core.events.ids import derive_delivery_id, is_uuid
from pipeline.core.events.operational import OPERATIONAL_TYPES
from pipeline.core.events.records import Bundle, Dispatch, Event, RoutesChanged, is_probe, is_written, to_bytes
from pipeline.core.log.checksum import choose_sum
from pipeline.core.log.recent_ids import RecentIds
from pipeline.core.routing.payload_filter import Content, SelectionCostError
from pipeline.core.routing.routes import AppliedRoutes
from pipeline.core.trace_context import TraceHeaders, pick_headers
from pipeline.core.units import MINUTE_US
from pipeline.kafka.log_clock import monotonic_us
from pipeline.matcher.excess import Excess
from pipeline.matcher.outstanding import Outstanding
from pipeline.metrics import Metrics
from pipeline.topics import Topic, Topics

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

# What a delivery, its attempts and its dead letter hold besides the payload, with room to spare.
ENVELOPE_MAX_BYTES = 8 * 1024
ENVELOPE_BYTES = 300  # what a delivery usually holds besides the payload
SELECTION_COST = "the patterns and payload filters of its application's subscriptions take too long with it"
# One event may match ten thousand subscriptions: its deliveries are handed on in pieces of about this size.
PORTION_MAX_BYTES = 2 * 1024 * 1024

ToWrite = tuple[Topic, bytes, bytes] | tuple[Topic, bytes, bytes, TraceHeaders]  # see `ToSend`
log = structlog.get_logger()


class EventRecord(Protocol):
    """A record of the events topic, as the consumer hands it over. `timestamp`: milliseconds, set by the broker."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class RoutesSource(Protocol):
    """Where routes come from: a view of the routes topic."""

    def at(self, application_id: str, appended_at_us: int, version_min: int) -> AppliedRoutes | None: ...

    async def wait_for(self, application_id: str, version: int, timeout_s: float) -> bool: ...


class Matcher:
    """Matches events in log order. Holds which routes version each marker announced, and a window of recent ids."""

    def __init__(
        self,
        topics: Topics,
        routes: RoutesSource,
        metrics: Metrics,
        *,
        outstanding: Outstanding,
        recent_ids_max: int,
        record_max_bytes: int,
        payload_inline_max_bytes: int,
        routes_wait_s: float,
        clock_us: Callable[[], int],
        parse: Callable[..., Event | RoutesChanged | Unreadable] = parse_event,
        tracing: "Tracing | None" = None,
        is_failing: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`record_max_bytes`: what a record may have in any topic. `is_failing`: has the subscription's endpoint failed
        since its last success, as far as it is known here?

        `payload_inline_max_bytes`: deliveries of a larger payload name the event's record (`claim_check`).
        """
        self._topics = topics
        self._routes = routes
        self._metrics = metrics
        self._outstanding = outstanding
        self._excess = Excess(topics.of_excess())
        # looking a child up by its labels takes longer than counting
        self._count_parked = metrics.parked_total.labels("over_share").inc
        self._recent = RecentIds(recent_ids_max)
        self._payload_max_bytes = record_max_bytes - ENVELOPE_MAX_BYTES
        self._payload_inline_max_bytes = payload_inline_max_bytes
        self._routes_wait_s = routes_wait_s
        self._clock_us = clock_us
        self._parse = parse
        self._tracing = tracing
        self._is_failing = is_failing
        self._announced: dict[str, int] = {}
        self._waited_in, self._waited_s = 0, 0.0  # the minute, and how long markers waited in vain in it

    def forget(self) -> None:
        """Forget markers and ids that were seen: partitions were taken away."""
        self._announced.clear()
        self._recent = RecentIds(self._recent.max_ids)

    async def match(self, records: Iterable[EventRecord]) -> AsyncIterator[list[ToWrite]]:
        """The writes for the records of one chunk, in their order, in portions of about `PORTION_MAX_BYTES`."""
        portion: list[ToWrite] = []
        size_bytes = 0
        for record in records:
            try:
                for written in await self._lead_on(record):
                    portion.append(written)
                    size_bytes += len(written[2])
                    if size_bytes >= PORTION_MAX_BYTES:
                        yield portion
                        portion, size_bytes = [], 0
            except MemoryError:
                raise  # it says nothing about the record
            except Exception as error:
                # One event must not stop all others. Its deliveries from before the exception are written as well:
                # redriven, it is matched again under the same ids.
                portion.append(self._give_up_failed(error, record))
                size_bytes += len(record.value or b"")
        yield portion

    async def _lead_on(self, record: EventRecord) -> Iterable[ToWrite]:
        """The writes for one record."""
        if is_probe(record.value):
            return ()
        parsed = self._parse(
            record.value,
            record.key,
            topic=self._topics.events.name,
            partition=record.partition,
            offset=record.offset,
            appended_at_us=record.timestamp * 1000,
        )
        match parsed:
            case Event():
                matched = self._match_event(parsed, record)
                return matched if self._tracing is None else _trace(self._tracing, parsed, record, matched)
            case RoutesChanged():
                await self._follow_marker(parsed)
                return ()
            case Unreadable():
                return (self._give_up(parsed, record),)

    def _match_event(self, event: Event, record: EventRecord) -> Iterator[ToWrite]:
        self._metrics.events_matched_total.inc()
        application_id = event.application_id
        appended_at_us = record.timestamp * 1000
        routes = self._routes.at(application_id, appended_at_us, self._announced.get(application_id, 0))
        if routes is None or routes.deleted:
            detail = f"there is no application {application_id}"
            yield self._give_up(_refuse(event, "unknown_application", detail), record)
            return
        key, content = (application_id, event.event_id), fingerprint(event)
        if key in self._recent:
            self._metrics.events_repeated_total.inc()
            if self._recent.get(key) != content:
                detail = f"an event with the id {event.event_id} and another content came before"
                yield self._give_up(_refuse(event, "id_reused", detail), record)
            return
        if len(event.payload) > self._payload_max_bytes:
            detail = f"the payload has {len(event.payload)} bytes; it may have {self._payload_max_bytes}"
            yield self._give_up(_refuse(event, "invalid_event", detail), record)
            return
        content_of = Content(event.payload, event.payload_content_type)
        try:
            subscription_ids = routes.match(event.event_type, event.labels, content_of)
        except SelectionCostError:
            yield self._give_up(_refuse(event, "invalid_event", SELECTION_COST), record)
            return
        if (
            not subscription_ids
            and not routes.has_type(event.event_type)
            and (event.event_type not in OPERATIONAL_TYPES)
        ):
            detail = f"the application has no event type {event.event_type}"
            yield self._give_up(_refuse(event, "unknown_event_type", detail), record)
            return
        unfit = self._find_unfit(event, routes)
        if unfit is not None:
            yield self._give_up(_refuse(event, "schema", unfit), record)
            return
        # not before: an event that was refused may come again, redriven once its type exists
        self._recent.add(key, content)
        try:
            yield from self._write_matches(event, record, routes.version, subscription_ids)
        except Exception:
            self._recent.discard(key)  # its dead letter may be redriven
            raise

    def _write_matches(
        self, event: Event, record: EventRecord, routes_version: int, subscription_ids: Sequence[str]
    ) -> Iterator[ToWrite]:
        """A delivery for each subscription, and the dispatch."""
        application_id, appended_at_us = event.application_id, record.timestamp * 1000
        matched_at_us = self._clock_us()
        content_crc32 = choose_sum(event)
        is_inline = len(event.payload) <= self._payload_inline_max_bytes or not writes_claim_checks()
        matched = Bundle(
            application_id=application_id,
            event_id=event.event_id,
            event_type=event.event_type,
            payload=event.payload if is_inline else b"",
            payload_content_type=event.payload_content_type,
            appended_at_us=appended_at_us,
            received_at_us=event.received_at_us,
            matched_at_us=matched_at_us,
            routes_version=routes_version,
            content_crc32=content_crc32,
            payload_partition=NOWHERE if is_inline else record.partition,
            payload_offset=NOWHERE if is_inline else record.offset,
            payload_bytes=0 if is_inline else len(event.payload),
            subscriptions=[],
        )
        size_bytes = len(matched.payload) + ENVELOPE_BYTES
        found, failing = [], []
        for subscription_id in subscription_ids:
            is_taken = self._outstanding.take(application_id, size_bytes)
            if not is_taken and self._is_failing(subscription_id) and is_written(Bundle):
                delivery_id = derive_delivery_id(event.event_id, subscription_id, application_id)
                failing.append(subscription_id)
            else:
                topic = self._topics.deliveries if is_taken else self._choose_retry_topic(application_id)
                delivery = single_out(matched, subscription_id)
                delivery_id = delivery.delivery_id
                yield (topic, subscription_id.encode(), to_bytes(delivery))
            found.append({"subscription_id": subscription_id, "delivery_id": delivery_id})
        yield from self._write_bundles(matched, failing)
        dispatch = Dispatch(
            application_id=application_id,
            event_id=event.event_id,
            event_type=event.event_type,
            event_partition=record.partition,
            event_offset=record.offset,
            appended_at_us=appended_at_us,
            received_at_us=event.received_at_us,
            matched_at_us=matched_at_us,
            routes_version=routes_version,
            matches=found,
            content_crc32=content_crc32,
        )
        yield (self._topics.dispatches, application_id.encode(), to_bytes(dispatch))
        self._metrics.matches_total.inc(len(found))

    def _choose_retry_topic(self, application_id: str, *, count: int = 1) -> Topic:
        """Count so many deliveries that the application has beyond its share; the retry topic that they wait in."""
        self._count_parked(count)
        return self._excess.choose(application_id, self._clock_us(), self._outstanding.settled_per_s, count=count)

    def _write_bundles(self, matched: Bundle, subscription_ids: Sequence[str]) -> Iterator[ToWrite]:
        """Bundles, each of one partition, of what is beyond the application's share."""
        partitions: dict[int, list[str]] = defaultdict(list)
        for subscription_id in subscription_ids:
            partitions[self._topics.deliveries.locate(subscription_id.encode())].append(subscription_id)
        for ids in partitions.values():
            for start in range(0, len(ids), SUBSCRIPTIONS_MAX):
                portion = ids[start : start + SUBSCRIPTIONS_MAX]
                topic = self._choose_retry_topic(matched.application_id, count=len(portion))
                value = to_bytes(narrow(matched, portion) if len(portion) > 1 else single_out(matched, portion[0]))
                yield (topic, portion[0].encode(), value)

    def _find_unfit(self, event: Event, routes: AppliedRoutes) -> str | None:
        """Why the event's type refuses its payload. One that was checked before it was written is not looked at."""
        applied = routes.find_schema(event.event_type) if event.schema_version < 0 else None
        problem = (
            applied.schema.find_problem(event.payload, event.payload_content_type) if applied is not None else None
        )
        if applied is None or problem is None:
            return None
        self._metrics.schema_misfits_total.labels("refuse" if applied.refuses else "warn").inc()
        detail = f"the payload {problem} (version {applied.version} of the schema of {event.event_type})"
        return detail if applied.refuses else None

    async def _follow_marker(self, marker: RoutesChanged) -> None:
        """Wait until the view has this version: events from here on are matched with it or a later one."""
        application_id, version = marker.application_id, marker.routes_version
        if version <= self._announced.get(application_id, 0):
            return
        begun_us = monotonic_us()
        is_there = await self._routes.wait_for(application_id, version, self._choose_wait_s())
        wait_s = (monotonic_us() - begun_us) / 1_000_000
        if not is_there:
            self._waited_s += wait_s
            # A snapshot is published before its marker, so this one was not written by a gateway, or the routes topic
            # lost data. Standing still would stop all other applications as well.
            log.error("routes_missing", application_id=application_id, version=version, waited_s=wait_s)
            return
        self._announced[application_id] = version

    def _give_up_failed(self, error: Exception, record: EventRecord) -> ToWrite:
        """The dead letter of a record whose handling raised an exception that no code foresaw."""
        log.error("event_failed_internally", partition=record.partition, offset=record.offset, exc_info=error)
        self._metrics.internal_errors_total.inc()
        detail = f"an error inside Hookline: {type(error).__name__}: {str(error)!a}"
        return self._give_up(Unreadable(reason="internal", detail=detail), record)

    def _choose_wait_s(self) -> float:
        """Bound vain waits of all markers together to `routes_wait_s` a minute: any producer can write markers."""
        minute = self._clock_us() // MINUTE_US
        if minute != self._waited_in:
            self._waited_in, self._waited_s = minute, 0.0
        return max(0.0, self._routes_wait_s - self._waited_s)

    def _give_up(self, unreadable: Unreadable, record: EventRecord) -> ToWrite:
        """The dead letter of a record. It always fits into one: copied fields are cut, whatever length they claim."""
        topic = self._topics.events.name
        self._metrics.dead_total.labels(unreadable.reason).inc()
        key, value, detail = record.key, record.value, unreadable.detail
        if len(detail) > DETAIL_MAX_CHARS:
            detail = detail[:DETAIL_MAX_CHARS] + "…"
        if key is not None and len(key) > KEY_MAX_BYTES:
            detail += f" (its key has {len(key)} bytes, too many to be repeated here)"
            key = None
        if value is not None and len(value) > self._payload_max_bytes:
            detail += f" (its value has {len(value)} bytes, too many to be repeated here)"
            value = None
        letter = make_dead_letter(
            unreadable.reason,
            detail,
            topic=topic,
            partition=record.partition,
            offset=record.offset,
            key=key,
            value=value,
            appended_at_us=record.timestamp * 1000,
            died_at_us=self._clock_us(),
            application_id=_take_id(unreadable.application_id),
            event_id=_take_id(unreadable.event_id),
        )
        to_write = (self._topics.dead, key or b"", to_bytes(letter))
        headers = None if self._tracing is None else pick_headers(record.headers)
        return to_write if headers is None else (*to_write, headers)


def _trace(tracing: "Tracing", event: Event, record: EventRecord, matched: Iterator[ToWrite]) -> Iterator[ToWrite]:
    """Pass on an event's records, in a span that ends with the last one. It is current nowhere: others have turns."""
    with tracing.match(event, pick_headers(record.headers)) as headers:
        for written in matched:
            yield written if headers is None else (*written[:3], headers)


def _refuse(event: Event, reason: str, detail: str) -> Unreadable:
    return Unreadable(reason=reason, detail=detail, application_id=event.application_id, event_id=event.event_id)


def _take_id(text: str | None) -> str | None:
    return text if text is not None and is_uuid(text) else None
