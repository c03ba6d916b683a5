"""Writing the archive: rows and the positions they came from in one transaction, by an owner that can be fenced off.

One connection of the writer's own, opened again after every failure. Which rows a record becomes is not known here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection, AsyncCursor
from psycopg import Error as PsycopgError
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composable, Composed, Identifier

from pipeline.config import DatabaseConfig
from pipeline.core.log.positions import HoleError, Place, Step
from pipeline.postgres.archive.connection import open_archive_connection
from pipeline.postgres.archive.frozen import end_frozen_sessions
from pipeline.postgres.archive.minutes import add_attempts
from pipeline.postgres.archive.partitions import ensure_days, list_days
from pipeline.postgres.archive.refusals import (
    PositionRefusedError,
    RowsLeftOutError,
    describe_refusal,
    is_about_a_row,
)
from pipeline.postgres.archive.statistics import YoungPartitions, analyze_young
from pipeline.postgres.archive.tables import ATTEMPTS, EVENTS, TABLES, ArchiveTable
from pipeline.postgres.pooling import find_server_pid

NOT_REDRIVEN: LiteralString = (
    "and not exists (select from redriven_events r join events o using (application_id, event_id, day) "
    "where r.application_id = s.application_id and r.event_id = s.event_id)"
)
# Events of this batch whose ids the archive has from other places in the log, with other contents.
REUSED_IDS: LiteralString = (
    "select s.application_id::text, s.event_id::text, s.event_partition, s.event_offset from staged_events s "
    "join events o on o.application_id = s.application_id and o.event_id = s.event_id "
    "and o.day between s.day - 1 and s.day + 1 "
    "where (o.event_partition, o.event_offset) <> (s.event_partition, s.event_offset) "
    "and (o.event_type, o.payload_content_type, o.payload, o.labels) "
    "is distinct from (s.event_type, s.payload_content_type, s.payload, s.labels)"
)
Row = tuple[Any, ...]  # values in the order of the table's columns


log = structlog.get_logger()


class Claimed(NamedTuple):
    """`next_offset`: where to read on, None: nothing was ever archived. `topic_id`: in which topic that counts."""

    next_offset: int | None
    topic_id: str | None


class FencedError(Exception):
    """Another process owns these partitions now; nothing was written. This one must stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBatch:
    """One transaction's content. `steps`: from where to where each partition moves, `owners`: by whose right,
    `appended_at_us`: the broker's clock at the newest record of those whose timestamps are the broker's."""

    steps: Mapping[Place, Step]
    owners: Mapping[Place, UUID]
    appended_at_us: Mapping[Place, int] = field(default_factory=dict)
    rows: Mapping[str, list[Row]] = field(default_factory=dict)  # by table name


class ArchiveWriter:
    """Writes batches. Not for use by two tasks at once."""

    def __init__(self, config: DatabaseConfig, *, on_reused: Callable[[int], None] = lambda _: None) -> None:
        """`on_reused`: called with how many events of a batch are not kept, because others have their ids."""
        self._config = config
        self._on_reused = on_reused
        self._connection: AsyncConnection[TupleRow] | None = None
        self._staged: set[str] = set()  # tables for whose rows the connection has a temporary one
        self._days: set[date] = set()
        self._young = YoungPartitions()

    async def claim(
        self, owners: Mapping[Place, UUID], topic_ids: Mapping[str, str] | None = None
    ) -> dict[Place, Claimed]:
        """Make each partition's `owner` its only writer; returns the partitions' positions.

        `topic_ids`, by topic name, is kept for positions whose topic is not known yet. Waits for an open transaction of
        the former owner, so that the position is final.
        """
        claimed: dict[Place, Claimed] = {}
        async with self._connected() as connection, self._ending_frozen(connection), connection.transaction():
            # an owner idle in the middle of a batch is found gone at the next try, not after a long wait
            await connection.execute("set local lock_timeout = '5s'")
            for (topic, partition), owner in sorted(owners.items()):  # in one order, or two processes could deadlock
                with _moving_positions():
                    cursor = await connection.execute(
                        "insert into archive_offsets as o (topic, partition, next_offset, owner, topic_id) "
                        "values (%s, %s, -1, %s, %s) on conflict (topic, partition) do update "
                        "set owner = excluded.owner, topic_id = coalesce(o.topic_id, excluded.topic_id) "
                        "returning o.next_offset, o.topic_id",
                        (topic, partition, owner, (topic_ids or {}).get(topic)),
                    )
                next_offset, topic_id = await cursor.fetchone() or (-1, None)
                claimed[topic, partition] = Claimed(next_offset if next_offset >= 0 else None, topic_id)
        return claimed

    @asynccontextmanager
    async def _ending_frozen(self, waiting: AsyncConnection[TupleRow]) -> AsyncIterator[None]:
        """Meanwhile end the sessions that this one waits for, if their clients are silent."""
        ending = asyncio.create_task(end_frozen_sessions(self._config, await find_server_pid(waiting)))
        try:
            yield
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError, PsycopgError):  # then the owner is waited for, as without this
                await ending

    async def read_positions(self, owners: Mapping[Place, UUID]) -> dict[Place, int]:
        """How far each partition is written: to be asked when a write failed, which may have been committed.

        Raises `FencedError`, or what psycopg raises.
        """
        async with self._connected() as connection:
            positions = await _read_positions(connection, owners, owners)
        _check_owners(owners, positions)
        return positions

    async def read_known(self, places: Sequence[Place]) -> dict[Place, int]:
        """The positions of these partitions, under any owner. Raises `FencedError` unless each has one."""
        async with self._connected() as connection:
            cursor = await connection.execute("select topic, partition, next_offset from archive_offsets")
            known = {(topic, partition): next_offset for topic, partition, next_offset in await cursor.fetchall()}
        missing = set(places) - known.keys()
        if missing:
            raise FencedError(f"{len(missing)} of {len(places)} partitions have no position: they are archived anew")
        return {place: known[place] for place in places}

    async def set_back(self, place: Place, owner: UUID, position: int, topic_id: str | None = None) -> None:
        """The log was cut off, or made again: its records from `position` on are others than those that were archived.

        Rows stay. A new row instead of a changed one: a position that goes back is refused.
        """
        async with self._connected() as connection, connection.transaction():
            cursor = await connection.execute(
                "delete from archive_offsets where topic = %s and partition = %s and owner = %s", (*place, owner)
            )
            _check_owners([place], {place: position} if cursor.rowcount else {})
            with _moving_positions():
                await connection.execute(
                    "insert into archive_offsets (topic, partition, next_offset, from_offset, owner, topic_id) "
                    "values (%s, %s, %s, %s, %s, %s)",
                    (*place, position, position, owner, topic_id),
                )

    async def write(self, batch: ArchiveBatch) -> dict[str, int]:
        """Write all of it or nothing; the number of new rows by table.

        Raises `FencedError`; `HoleError` when a position is not where the batch continues; `PositionRefusedError`;
        `RowsLeftOutError`; or what psycopg raises.
        """
        async with self._connected() as connection:
            await self._stage(connection, batch.rows)
            async with connection.transaction():
                # first, so that no other process can claim the partitions until this is committed
                with _moving_positions():
                    await _advance(connection, batch)
                added = await _add_all(connection, batch.rows)
                reused = []
                if added.get(EVENTS.name, 0) < len(batch.rows.get(EVENTS.name, ())):
                    reused = await (await connection.execute(REUSED_IDS)).fetchall()
        for application_id, event_id, partition, offset in reused:
            log.error(
                "event_id_reused", application_id=application_id, event_id=event_id, partition=partition, offset=offset
            )
        self._on_reused(len(reused))
        if self._young.is_due(sum(added.values())):
            await self._analyze_young()
        return added

    async def _analyze_young(self) -> None:
        """The batch is written, whatever comes of this."""
        try:
            async with self._connected() as connection:
                await analyze_young(connection)
        except PsycopgError as error:
            log.warning("partitions_not_analyzed", reason=describe_refusal(error))

    async def try_rows(self, rows: Mapping[str, list[Row]]) -> str | None:
        """Would the tables take these rows, by table name? None, or why not. Nothing is written."""
        async with self._connected() as connection:
            await self._stage(connection, rows)
            try:
                async with connection.transaction(force_rollback=True):
                    await _add_all(connection, rows)
                    await connection.execute("set constraints all immediate")  # those that a commit would check
            except Exception as error:
                if not is_about_a_row(error):
                    raise
                return describe_refusal(error)
        return None

    async def ensure_days(self, days: Collection[date]) -> None:
        """Make sure these days have partitions. Costs nothing when this writer has seen them."""
        self._young.meet(days)
        missing = set(days) - self._days
        if not missing:
            return
        async with self._connected() as connection:
            await ensure_days(connection, missing)
            # those that cannot be made are not tried again at each batch
            self._days = await list_days(connection, EVENTS) | missing

    async def close(self) -> None:
        """Close the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """The connection. It is closed when the work on it fails: its state is unknown then."""
        try:
            if self._connection is None:
                self._connection = await open_archive_connection(self._config)
                self._staged = set()
            yield self._connection
        except BaseException:
            await self.close()
            raise

    async def _stage(self, connection: AsyncConnection[TupleRow], rows: Mapping[str, list[Row]]) -> None:
        """Make the temporary tables that these rows need: a lock on another table of the archive stops none of them."""
        for table in TABLES:
            if rows.get(table.name) and table.name not in self._staged:
                await connection.execute(_stage_sql(table))
                self._staged.add(table.name)


@contextmanager
def _moving_positions() -> Iterator[None]:
    """Raise a refusal of this work as one that concerns every row: without a position none is written."""
    try:
        yield
    except Exception as error:
        if is_about_a_row(error):
            raise PositionRefusedError(f"archive_offsets takes no position: {describe_refusal(error)}") from error
        raise


async def _advance(connection: AsyncConnection[TupleRow], batch: ArchiveBatch) -> None:
    places = sorted(batch.steps)
    steps = [batch.steps[place] for place in places]
    cursor = await connection.execute(
        "update archive_offsets o "
        "set next_offset = v.next_offset, from_offset = v.from_offset, records = v.records, vacant = v.vacant, "
        "appended_at_us = coalesce(v.appended_at_us, o.appended_at_us), "
        "moved_at = case when v.appended_at_us is null then o.moved_at else clock_timestamp() end "
        "from unnest(%s::text[], %s::int[], %s::uuid[], %s::bigint[], "
        "%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) "
        "as v (topic, partition, owner, appended_at_us, from_offset, next_offset, records, vacant) "
        "where o.topic = v.topic and o.partition = v.partition and o.owner = v.owner and o.next_offset = v.from_offset",
        (
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [batch.owners[place] for place in places],
            [batch.appended_at_us.get(place) for place in places],
            *([step[field] for step in steps] for field in range(len(Step._fields))),
        ),
    )
    if cursor.rowcount == len(places):
        return
    positions = await _read_positions(connection, places, batch.owners)
    _check_owners(places, positions)
    holes = [
        f"{topic} [{partition}] is written up to {positions[topic, partition]}, not {step.from_offset}"
        for (topic, partition), step in zip(places, steps, strict=True)
        if positions[topic, partition] != step.from_offset
    ]
    raise HoleError(f"the batch does not continue the archived positions: {'; '.join(holes)}")


async def _read_positions(
    connection: AsyncConnection[TupleRow], places: Iterable[Place], owners: Mapping[Place, UUID]
) -> dict[Place, int]:
    """Positions of the partitions that the owner still owns."""
    places = sorted(places)
    cursor = await connection.execute(
        "select o.topic, o.partition, o.next_offset from archive_offsets o "
        "join unnest(%s::text[], %s::int[], %s::uuid[]) as v (topic, partition, owner) "
        "on o.topic = v.topic and o.partition = v.partition and o.owner = v.owner",
        (
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [owners[place] for place in places],
        ),
    )
    return {(topic, partition): next_offset for topic, partition, next_offset in await cursor.fetchall()}


def _check_owners(places: Iterable[Place], ours: Mapping[Place, int]) -> None:
    wanted = set(places)
    lost = wanted - ours.keys()
    if lost:
        raise FencedError(
            f"{len(lost)} of {len(wanted)} partitions have another owner; "
            "another archive process took them over while this one was away"
        )


async def _add_all(connection: AsyncConnection[TupleRow], rows: Mapping[str, list[Row]]) -> dict[str, int]:
    return {
        table.name: await _add_rows(connection, table, group) for table in TABLES if (group := rows.get(table.name))
    }


async def _add_rows(connection: AsyncConnection[TupleRow], table: ArchiveTable, rows: list[Row]) -> int:
    async with connection.cursor() as cursor:
        # text, not binary: as fast here (about 60,000 events/s of 1 KB), and ids stay the strings they are
        async with cursor.copy(_copy_sql(table)) as copy:
            for row in rows:
                await copy.write_row(row)
        if table is ATTEMPTS:
            added = await add_attempts(cursor, _insert_sql(table))
        else:
            await cursor.execute(_insert_sql(table))
            added = cursor.rowcount
        if added < len(rows):  # most are repeats
            await _check_kept(cursor, table)
        return added


async def _check_kept(cursor: AsyncCursor[TupleRow], table: ArchiveTable) -> None:
    """Check that the archive has each row of the batch, or had it before. Raises `RowsLeftOutError`."""
    await cursor.execute(
        SQL(
            "select count(*) from {stage} s where not exists "
            "(select from {table} o where {same} and o.day between s.day - 1 and s.day + 1) {redriven}"
        ).format(**_describe(table))
    )
    row = await cursor.fetchone()
    if row is not None and row[0]:
        raise RowsLeftOutError(f"{table.name} has {row[0]} rows less than it took: a trigger or a rule left them out")


def _stage_sql(table: ArchiveTable) -> Composed:
    return SQL("create temporary table {} (like {} including storage) on commit delete rows").format(
        _stage(table), Identifier(table.name)
    )


def _copy_sql(table: ArchiveTable) -> Composed:
    return SQL("copy {} ({}) from stdin").format(_stage(table), _list_columns(table.columns))


def _insert_sql(table: ArchiveTable) -> Composed:
    """The first of each key, unless the archive has it: on the same day, or (sent again at midnight) on the next.

    An event sent again from its dead letter, maybe weeks later, is looked for on the day that was noted then.
    """
    return SQL(
        "insert into {table} ({columns}) select distinct on ({key}) {columns} from {stage} s "
        "where not exists (select from {table} o where {same} and o.day in (s.day - 1, s.day + 1)) {redriven} "
        # by the primary key alone: what another unique index refuses is no repeat
        "order by {key}, s.ctid on conflict ({key}, day) do nothing"
    ).format(**_describe(table), columns=_list_columns(table.columns), key=_list_columns(table.key))


def _describe(table: ArchiveTable) -> dict[str, Composable]:
    """Parts of statements about a table `o` and its staged rows `s`."""
    return {
        "table": Identifier(table.name),
        "stage": _stage(table),
        "same": SQL(" and ").join(SQL("o.{0} = s.{0}").format(Identifier(column)) for column in table.key),
        "redriven": SQL(NOT_REDRIVEN if table is EVENTS else ""),
    }


def _stage(table: ArchiveTable) -> Identifier:
    return Identifier(f"staged_{table.name}")


def _list_columns(columns: tuple[str, ...]) -> Composed:
    return SQL(", ").join(Identifier(column) for column in columns)
