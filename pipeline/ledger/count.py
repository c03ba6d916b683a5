"""Counting: in an order that makes every race harmless, so that nothing has to stand still.

1. What the groups have committed. A commit comes after the acknowledgement of all that it stands for.
2. Where the topics that the archive reads end *then*; wait until it has archived so far. Now whatever was settled
   in 1 has its outcome in PostgreSQL.
3. One snapshot of PostgreSQL: all events and deliveries, and those of them that have not ended.
4. The log from the commits of 1 to its ends *now*. A delivery that is open in 3 was not settled in 1, so that its
   record, or the one that its last attempt left, lies in this part of the log.

A delivery in neither 3 nor 4 is lost, unless the matcher had not committed its event in 1: that one is matched again.
Between archived events there may be offsets without a row: markers, repeats, or an event the archive never had. They
are read from the log as well.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from pipeline.config import KafkaConfig
from pipeline.core.log.account import Account, add_up
from pipeline.core.units import DAY_US
from pipeline.kafka.record import Place
from pipeline.kafka.settled import Settled, read_bounds, read_settled
from pipeline.kafka.tail import Bounds
from pipeline.ledger.open_records import LogEvent, Wanted, find_open, read_gaps
from pipeline.postgres.archive import ledger_counts as archive
from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.tables import day_of
from pipeline.start_error import StartError
from pipeline.topics import Topics

SETTLE_POLL_S = 0.2
OPEN_MAX = 3_000_000  # deliveries held in memory, about 250 bytes each
SHOWN_MAX = 100
UNKNOWN = "unknown"  # whose a record is that cannot be read
Accounts = dict[str, Account]


class NotSettledError(StartError):
    """The archive does not reach the end of the log: nothing can be said yet."""


class TooManyError(StartError):
    """More is open than can be looked for."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An event or a delivery that is nowhere. `event_place`: where its event lies in the log, None: not known."""

    kind: str  # event, delivery
    application_id: str
    id: str
    event_place: tuple[int, int] | None  # partition and offset


@dataclass(slots=True)
class Result:
    """The books. `archived`: the offsets that were counted up to, by topic and partition."""

    counted_at_s: float
    seconds: float = 0.0
    accounts: Accounts = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    archived: dict[Place, int] = field(default_factory=dict)
    days: list[date] = field(default_factory=list)
    records_read: int = 0
    gaps_unread: int = 0  # offsets between archived events that were not looked at

    @property
    def total(self) -> Account:
        """All applications together."""
        return add_up(self.accounts.values())


class Counter:
    """Counts on one connection. Days on which everything has ended are remembered for `closed_days_kept_s`."""

    def __init__(self, kafka: KafkaConfig, topics: Topics, *, closed_days_kept_s: float = 0.0) -> None:
        self._kafka = kafka
        self._topics = topics
        self._kept_s = closed_days_kept_s
        self._closed: dict[date, tuple[float, Accounts]] = {}

    async def count(self, connection: Connection, *, wait_s: float) -> Result:
        """Count everything. Raises `NotSettledError` when the archive is not where the log was within `wait_s`,
        `StartError` when Kafka does not answer, or what psycopg raises."""
        started_s = time.monotonic()
        kafka, topics = self._kafka, self._topics
        matched = await asyncio.to_thread(read_settled, kafka, f"{kafka.topic_prefix}matcher", [topics.events])
        delivering = [topics.deliveries, *topics.retries]
        settled = await asyncio.to_thread(read_settled, kafka, f"{kafka.topic_prefix}deliver", delivering)
        bounds = await asyncio.to_thread(read_bounds, kafka, topics.of_archive())
        await _wait_for_archive(connection, {place: end for place, (_, end) in bounds.items()}, wait_s)
        result = Result(counted_at_s=time.time())
        books = Books(matched, topics.events.name, result)
        async with archive.open_snapshot(connection):
            result.archived = await archive.read_positions(connection)
            for part in await archive.list_parts(connection):
                await self._count_part(connection, part, books)
            await self._look_into_gaps(connection, bounds, books)
        result.records_read = await asyncio.to_thread(find_open, kafka, topics, settled, books.wanted)
        books.close()
        result.seconds = time.monotonic() - started_s
        return result

    async def _count_part(self, connection: Connection, part: archive.Part, books: "Books") -> None:
        now_s = time.monotonic()
        if part.day is not None:
            books.result.days.append(part.day)
            known = self._closed.get(part.day)
            if known is not None and now_s - known[0] < self._kept_s:
                books.add(known[1])
                return
        accounts: Accounts = defaultdict(Account)
        for application_id, count in (await archive.count_events(connection, part)).items():
            accounts[application_id].events = accounts[application_id].matched = count
        async for event in archive.each_open_event(connection, part, books.events_topic):
            books.add_event(accounts[event.application_id], event)
        rows = await archive.count_deliveries(connection, part)
        matches = await archive.count_matches(connection, part)
        for application_id in rows.keys() | matches.keys():
            delivered = rows.get(application_id, 0)
            # a dispatch without its rows owes deliveries all the same
            accounts[application_id].deliveries = max(delivered, matches.get(application_id, 0))
            accounts[application_id].delivered = delivered
        wanted = len(books.wanted)
        async for delivery in archive.each_open_delivery(connection, part):
            books.add_delivery(accounts[delivery.application_id], delivery)
        books.add(accounts)
        is_closed = len(books.wanted) == wanted and all(account.is_closed for account in accounts.values())
        # the day must be over by any clock: until then events come
        if is_closed and part.day is not None and part.day < day_of(int(books.result.counted_at_s * 1e6) - 2 * DAY_US):
            self._closed[part.day] = (now_s, accounts)

    async def _look_into_gaps(self, connection: Connection, bounds: Mapping[Place, Bounds], books: "Books") -> None:
        """Events that were accepted and have no row."""
        topic, result = self._topics.events, books.result
        begins = {partition: bounds[topic.name, partition][0] for partition in range(topic.partitions)}
        # beyond the matcher's commit a dead letter may still be on its way
        ends = {
            partition: min(books.matched[topic.name, partition].offset, result.archived.get((topic.name, partition), 0))
            for partition in begins
        }
        gaps = await archive.list_gaps(connection, topic.name, begins, ends)
        events, result.gaps_unread = await asyncio.to_thread(
            read_gaps, self._kafka, self._topics, gaps, first_day=min(result.days, default=None)
        )
        pairs = [(each.application_id, each.event_id) for each in events if each.application_id and each.event_id]
        known = await archive.find_events(connection, pairs) if pairs else set()
        for event in events:
            if (event.application_id, event.event_id) not in known:
                books.add_lost_event(event)


class Books:
    """Counts being added up. `wanted`: deliveries that must be found in the log, by id."""

    def __init__(self, matched: Mapping[Place, Settled], events_topic: str, result: Result) -> None:
        self.matched = matched
        self.events_topic = events_topic
        self.result = result
        self.wanted: dict[bytes, Wanted] = {}

    def add(self, accounts: Accounts) -> None:
        """The accounts of a day, counted."""
        for application_id, account in accounts.items():
            self._account(application_id).add(account)

    def add_event(self, account: Account, event: archive.OpenEvent) -> None:
        """An event of the day without a dispatch on it; `account` has counted it as matched."""
        if event.is_dispatched:
            return
        account.matched -= 1
        if event.is_refused:
            account.refused += 1
        elif not self._is_matched(event.partition, event.offset):
            account.waiting += 1
        else:
            self._miss("event", event.application_id, event.event_id, (event.partition, event.offset))

    def add_delivery(self, account: Account, delivery: archive.OpenDelivery) -> None:
        """A delivery of the day without a success; `account` has counted it as delivered."""
        account.delivered -= 1
        if delivery.is_cancelled:
            account.cancelled += 1
        elif delivery.is_dead:
            account.dead += 1
        else:
            place = None
            if delivery.event_partition is not None and delivery.event_offset is not None:
                place = (delivery.event_partition, delivery.event_offset)
            self.wanted[delivery.delivery_id] = Wanted(
                self._account(delivery.application_id), delivery.application_id, place
            )
            if len(self.wanted) > OPEN_MAX:
                raise TooManyError(
                    f"more than {OPEN_MAX} deliveries are open: that is more than is held in memory to look for them"
                )

    def add_lost_event(self, event: LogEvent) -> None:
        """An event in the log that the archive does not have."""
        application_id = event.application_id or UNKNOWN
        self._account(application_id).events += 1
        self._miss("event", application_id, event.event_id or UNKNOWN, (event.partition, event.offset))

    def close(self) -> None:
        """Book the deliveries still wanted as not found in the log."""
        for delivery_id, wanted in self.wanted.items():
            if wanted.event_place is not None and not self._is_matched(*wanted.event_place):
                wanted.account.pending += 1  # its event is matched again
            else:
                self._miss("delivery", wanted.application_id, str(UUID(bytes=delivery_id)), wanted.event_place)

    def _account(self, application_id: str) -> Account:
        return self.result.accounts.setdefault(application_id, Account())

    def _is_matched(self, partition: int, offset: int) -> bool:
        return self.matched[self.events_topic, partition].has(offset)

    def _miss(self, kind: str, application_id: str, missing_id: str, event_place: tuple[int, int] | None) -> None:
        if len(self.result.missing) < SHOWN_MAX:
            self.result.missing.append(Missing(kind, application_id, missing_id, event_place))


async def _wait_for_archive(connection: Connection, ends: Mapping[Place, int], wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while True:
        positions = await archive.read_positions(connection)
        behind = {place: end - positions.get(place, 0) for place, end in ends.items()}
        behind = {place: records for place, records in behind.items() if records > 0}
        if not behind:
            return
        if time.monotonic() >= deadline_s:
            (topic, partition), most = max(behind.items(), key=lambda item: item[1])
            raise NotSettledError(
                f"cannot count yet: the archive is {sum(behind.values())} records behind the log in {len(behind)} "
                f"partitions (most in {topic} [{partition}]: {most}). Is `hookline archive` running? --wait SECONDS "
                "waits longer"
            )
        await asyncio.sleep(SETTLE_POLL_S)
