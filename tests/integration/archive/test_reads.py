"""Reading events, and how far the archive is, from a real PostgreSQL."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import psycopg
from pydantic import SecretStr

from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.postgres.archive.lists import PAGE_MAX, EventFilter, list_events
from pipeline.postgres.archive.paging import SCANNED_MAX
from pipeline.postgres.archive.progress import has_undispatched, is_dispatched, read_next_offsets
from pipeline.postgres.archive.reads import find_event, known_event_ids
from pipeline.postgres.pool import Pool, open_pool
from tests.integration.archive.records import (
    DAY_US,
    NOW_US,
    TOPICS,
    Log,
    change,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.tables import Owner, configure, open_writer
from tests.support.payloads import real_payloads


@asynccontextmanager
async def open_archive(database: str) -> AsyncIterator[tuple[Owner, Pool]]:
    """A writer, and a pool to read with."""
    pool = await open_pool(configure(database), SecretStr(database), name="test")
    try:
        async with open_writer(database) as writer:
            yield Owner(writer), pool
    finally:
        await pool.close()


async def test_an_event_comes_back_whole(database: str) -> None:
    """Every field as it was sent; another application does not see it, nor is there another id."""
    log, event = Log(), make_event(make_id(), payload=b'{"n": 1.0}')
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(event))
        found = await find_event(pool, event.application_id, event.event_id)

        assert found is not None
        assert b'{"n": 1.0}' == found.payload
        for field in (
            "event_id",
            "event_type",
            "payload_content_type",
            "occurred_at_us",
            "received_at_us",
            "ip",
        ):
            assert getattr(event, field) == getattr(found.event, field)
        assert event.labels == json.loads(found.event.labels)
        assert event.metadata == json.loads(found.event.metadata)
        assert await find_event(pool, make_id(), event.event_id) is None
        assert await find_event(pool, event.application_id, make_id()) is None


async def test_bodies_come_back_byte_for_byte(database: str) -> None:
    """Short and long, text and bytes, compressed or not: real payloads, and all bytes there are."""
    application_id, log = make_id(), Log()
    payloads = [
        b"",
        b"\x00",
        bytes(range(256)) * 10,
        b"x" * 1023,
        b"x" * 1024,
        *(each.payload.encode() for each in real_payloads()),
    ]
    events = [
        change(make_event(application_id, payload=payload), payload_content_type=BINARY_TYPE) for payload in payloads
    ]
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(event) for event in events))
        for event in events:
            found = await find_event(pool, application_id, event.event_id)  # type: ignore[attr-defined]

            assert found is not None
            assert event.payload == found.payload  # type: ignore[attr-defined]  # `change` knows no class


async def test_text_of_any_kind_is_kept(database: str) -> None:
    """Quotes, line breaks, emoji, NUL in an address: no row is refused, and none is another's."""
    labels = {"a\"'\\": "🦜", "b": "\ufffe"}
    event = make_event(make_id())
    async with open_archive(database) as (owner, pool):
        await owner.write(Log().append(change(event, labels=labels, metadata=labels, ip="\x00::1")))
        found = await find_event(pool, event.application_id, event.event_id)

    assert found is not None
    shown = (json.loads(found.event.labels), json.loads(found.event.metadata), found.event.ip)
    assert (labels, labels, "\ufffd::1") == shown


async def test_the_newest_events_are_listed(database: str) -> None:
    """Events come in the order of the log, newest first, a bounded number, of one application; by no producer's clock.

    The first ones say that they were received 20 years from now: they hid all that came later.
    """
    application_id, log = make_id(), Log()
    ahead_us = 20 * 365 * DAY_US
    events = [
        change(make_event(application_id), received_at_us=NOW_US + ahead_us - each) for each in range(PAGE_MAX + 20)
    ]
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(event) for event in [*events, make_event(make_id())]))
        listed = (await list_events(pool, EventFilter(application_id=application_id))).events

    assert [each.event_id for each in reversed(events[20:])] == [each.event_id for each in listed]  # type: ignore[attr-defined]  # `change` knows no class


async def test_labels_select_events_that_have_them(database: str) -> None:
    """Every pair selects its own event and no other, whatever quotes, commas and backslashes labels have."""
    application_id, log = make_id(), Log()
    texts = ["a", '"a', '\\"a', "a,", '","a', 'x":"y","a', "a\\", "{a", "ü"]
    pairs = [(key, value) for key in texts for value in texts]
    events = {
        pair: change(make_event(application_id), labels={"first": "b", pair[0]: pair[1]} if place % 2 else dict([pair]))
        for place, pair in enumerate(pairs)
    }
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(event) for event in events.values()))
        for pair, event in events.items():
            page = await list_events(pool, EventFilter(application_id=application_id, labels=dict([pair])))

            assert [event.event_id] == [each.event_id for each in page.events], pair  # type: ignore[attr-defined]  # `change` knows no class


async def test_known_ids_are_found_in_one_query(database: str) -> None:
    """The query returns the ids that the archive has, each under its own application, on whatever day."""
    log, one, other = Log(), make_id(), make_id()
    event, old = make_event(one), make_event(other)
    async with open_archive(database) as (owner, pool):
        await owner.write(log.append(event), log.append(old, appended_at_us=NOW_US - 5 * DAY_US))
        asked = [
            (one, event.event_id),
            (other, event.event_id),
            (other, old.event_id),
            (one, make_id()),
            (one, event.event_id),
        ]

        assert {(one, event.event_id), (other, old.event_id)} == await known_event_ids(pool, asked)
        assert set() == await known_event_ids(pool, [])


async def test_ids_are_found_when_the_bare_connection_was_ended(database: str) -> None:
    """The bare connection is not checked before use: a query that finds it ended is asked again."""
    log, application_id = Log(), make_id()
    event = make_event(application_id)
    pool = await open_pool(configure(database), SecretStr(database), name="bare", size_max=1, is_bare=True)
    async with open_archive(database) as (owner, _), pool:
        await owner.write(log.append(event))
        pairs = [(application_id, event.event_id)]
        assert set(pairs) == await known_event_ids(pool, pairs)
        with psycopg.connect(database) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name = 'hookline-bare'"
            ).fetchall()
        assert [(True,)] == ended
        assert set(pairs) == await known_event_ids(pool, pairs)


async def test_how_far_a_partition_is_archived(database: str) -> None:
    """0 when nothing is known of it, and when it was claimed and nothing was written yet."""
    log = Log()
    topic = TOPICS.events.name
    async with open_archive(database) as (owner, pool):
        offsets = [await read_next_offsets(pool, topic, [0])]
        await owner.claim((topic, 0))
        offsets.append(await read_next_offsets(pool, topic, [0]))
        await owner.write(log.append(make_event(make_id())), log.append(make_event(make_id())))
        offsets.append(await read_next_offsets(pool, topic, [0, 1]))

    assert [{0: 0}, {0: 0}, {0: 2, 1: 0}] == offsets


async def test_what_waits_for_its_dispatch(database: str) -> None:
    """An event that is archived and neither matched nor refused is waited for; one that matched nothing is not."""
    log, application_id = Log(), make_id()
    pending, unwanted, refused = (make_event(application_id) for _ in range(3))
    async with open_archive(database) as (owner, pool):

        async def ask(event_id: str | None = None) -> bool:
            return await has_undispatched(pool, application_id, event_id)

        assert not await ask()
        await owner.write(log.append(unwanted), log.append(refused))
        assert await ask()
        await owner.write(log.append(make_dispatch(unwanted)), log.append(make_dead_letter(refused)))
        assert not await ask()
        assert [True, False] == [
            await is_dispatched(pool, application_id, each.event_id) for each in (unwanted, refused)
        ]

        await owner.write(log.append(pending))
        assert await ask()
        assert [True, False, False] == [await ask(each.event_id) for each in (pending, unwanted, refused)]
        # another application's events are none of our business, nor its refusals
        assert not await has_undispatched(pool, make_id(), None)
        await owner.write(log.append(change(make_dead_letter(pending), application_id=make_id())))
        assert await ask()


async def test_what_comes_while_a_page_is_read_is_not_skipped(database: str) -> None:
    """The event that completes the 2,000 that a page looks at, and comes between its statements, is on the next one."""
    application_id, log = make_id(), Log()
    events = [make_event(application_id) for _ in range(SCANNED_MAX)]
    wanted = change(make_event(application_id), labels={"wanted": "yes"})
    async with open_archive(database) as (owner, pool):
        await owner.write(*(log.append(event) for event in events))
        first = await list_events(pool, EventFilter(application_id=application_id, labels={"wanted": "yes"}))
        assert first.after is not None
        start = replace(first.after, is_backward=True)

        class Meanwhile:
            """Reads as the pool does; after the first statement an event comes."""

            statements = 0

            async def fetch(self, *arguments: Any) -> Any:
                found = await pool.fetch(*arguments)
                Meanwhile.statements += 1
                if Meanwhile.statements == 1:
                    await owner.write(log.append(wanted))
                return found

        looked_for = EventFilter(application_id=application_id, labels={"wanted": "yes"}, after=start)
        page = await list_events(cast("Pool", Meanwhile()), looked_for)
        if not page.events:
            page = await list_events(pool, replace(looked_for, after=page.before))

    assert [wanted.event_id] == [each.event_id for each in page.events]  # type: ignore[attr-defined]  # `change` knows no class
