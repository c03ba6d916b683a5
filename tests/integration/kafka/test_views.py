"""Whole compacted topics in memory, from a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from pipeline.core.events.records import Endpoint, Routes, RoutesHead, RoutesPart, to_bytes
from pipeline.kafka.endpoints_view import EndpointsView
from pipeline.kafka.routes_view import RoutesView
from pipeline.kafka.view import LogView
from pipeline.start_error import StartError
from pipeline.topics import Topics, declare_topics
from tests.integration.kafka.logs import PlainClient, configure, make_topics
from tests.support.eventually import eventually


def make_routes(application_id: str, version: int, **fields: Any) -> Routes:
    usual: dict[str, Any] = {
        "organization_id": "o",
        "changed_at_us": 0,
        "deleted": False,
        "event_types": ["a.b.c"],
        "subscriptions": [{"subscription_id": f"s{version}", "enabled": True, "event_types": ["a.b.c"], "labels": {}}],
        "secret_hashes": [],
    }
    return Routes(application_id=application_id, version=version, **usual | fields)


def make_endpoint(subscription_id: str, version: int, url: str) -> Endpoint:
    return Endpoint(
        subscription_id=subscription_id,
        application_id="a",
        version=version,
        enabled=True,
        deleted=False,
        method="POST",
        url=url,
        headers={},
        secrets=[],
    )


class Board:
    """Publishes routes and endpoints as a gateway does."""

    def __init__(self, kafka: str, topics: Topics) -> None:
        self._client = PlainClient(kafka)
        self.kafka = kafka
        self.topics = topics

    def publish(self, *routes: Routes) -> None:
        for each in routes:
            self._client.write(self.topics.routes, [(each.application_id.encode(), to_bytes(each))])

    def publish_endpoint(self, endpoint: Endpoint) -> None:
        self._client.write(self.topics.endpoints, [(endpoint.subscription_id.encode(), to_bytes(endpoint))])

    def write(self, *records: tuple[bytes | None, bytes | None]) -> None:
        for topic in (self.topics.routes, self.topics.endpoints):
            self._client.write(topic, records)


@asynccontextmanager
async def open_routes(kafka: str, topic_prefix: str, **options: Any) -> AsyncIterator[tuple[RoutesView, Board]]:
    config, topics = await make_topics(kafka, topic_prefix)
    view = RoutesView(config, topics.routes, history_max=options.get("history_max", 1))
    await view.start()
    try:
        yield view, Board(kafka, topics)
    finally:
        await view.close()


def match_now(view: RoutesView, application_id: str) -> list[str] | None:
    routes = view.current(application_id)
    return None if routes is None else routes.match("a.b.c", {})


async def test_all_that_was_there_is_there_at_the_start(kafka: str, topic_prefix: str) -> None:
    """A process that takes work knows every application, however many there are."""
    config, topics = await make_topics(kafka, topic_prefix)
    ids = [str(uuid4()) for _ in range(2500)]
    client = PlainClient(kafka)
    client.write(topics.routes, [(each.encode(), to_bytes(make_routes(each, 1))) for each in ids])
    view = RoutesView(config, topics.routes)
    await view.start()
    try:
        assert [["s1"]] * len(ids) == [match_now(view, each) for each in ids]
        assert view.check() is None
    finally:
        await view.close()
    assert "has ended" in (view.check() or "")


async def test_a_large_configuration_is_read_quickly(kafka: str, topic_prefix: str) -> None:
    """A process with tens of thousands of parts to read waits for the broker a few times, not once a thousand."""
    config, topics = await make_topics(kafka, topic_prefix)
    record = to_bytes(make_routes("a", 1))
    PlainClient(kafka).write(topics.routes, [(f"a{number}".encode(), record) for number in range(30_000)])
    view = RoutesView(config, topics.routes)
    try:
        async with asyncio.timeout(5):
            await view.start()
        assert 30_000 == len(list(view.heads()))
    finally:
        await view.close()


async def test_an_empty_topic_is_read_at_once(kafka: str, topic_prefix: str) -> None:
    """The very first process starts, too."""
    async with open_routes(kafka, topic_prefix) as (view, _):
        assert view.current(str(uuid4())) is None


async def test_changes_arrive(kafka: str, topic_prefix: str) -> None:
    """The newest version is the current one; waiting for one ends when it is here, or in time."""
    application_id = str(uuid4())
    async with open_routes(kafka, topic_prefix) as (view, board):
        assert not await view.wait_for(application_id, 1, 0.05)
        waiting = asyncio.create_task(view.wait_for(application_id, 2, 60))
        board.publish(make_routes(application_id, 1))
        assert await view.wait_for(application_id, 1, 60)
        assert not waiting.done()
        board.publish(make_routes(application_id, 2))

        assert await waiting
        assert ["s2"] == match_now(view, application_id)
        assert "o" == view.organization_of(application_id)


async def test_an_older_version_changes_nothing(kafka: str, topic_prefix: str) -> None:
    """A snapshot that is published again, or comes late from another gateway, is passed over."""
    application_id = str(uuid4())
    async with open_routes(kafka, topic_prefix, history_max=16) as (view, board):
        board.publish(*(make_routes(application_id, version) for version in (2, 1, 2, 3)))
        assert await view.wait_for(application_id, 3, 60)
        chosen = view.at(application_id, 0, 2)

        assert ["s3"] == match_now(view, application_id)
        assert chosen is not None
        assert (2, ["s2"]) == (chosen.version, chosen.match("a.b.c", {}))


async def test_history_is_bounded(kafka: str, topic_prefix: str) -> None:
    """The view keeps as many older versions as asked for; an event of a lost one gets its oldest successor."""
    application_id = str(uuid4())
    async with open_routes(kafka, topic_prefix, history_max=3) as (view, board):
        board.publish(*(make_routes(application_id, version) for version in range(1, 8)))
        assert await view.wait_for(application_id, 7, 60)
        chosen = [view.at(application_id, 0, version) for version in (1, 5, 6, 7, 9)]

        assert [5, 5, 6, 7, 7] == [routes and routes.version for routes in chosen]
        assert view.at(str(uuid4()), 0, 1) is None


async def test_a_deleted_application_is_nobodys(kafka: str, topic_prefix: str) -> None:
    """The application's secrets open nothing, its routes match nothing; matching still knows that it was there."""
    application_id, secret = str(uuid4()), b"h" * 32
    async with open_routes(kafka, topic_prefix) as (view, board):
        board.publish(make_routes(application_id, 1, secret_hashes=[secret]))
        assert await view.wait_for(application_id, 1, 60)
        assert application_id == view.application_of(secret)
        board.publish(make_routes(application_id, 2, secret_hashes=[secret], deleted=True))
        assert await view.wait_for(application_id, 2, 60)
        routes = view.at(application_id, 2**60, 0)

        assert (None, None, None) == (
            view.application_of(secret),
            view.current(application_id),
            view.organization_of(application_id),
        )
        assert routes is not None
        assert routes.deleted


async def test_secrets_come_and_go(kafka: str, topic_prefix: str) -> None:
    """Secrets come and go with the snapshot that has them."""
    one, other = str(uuid4()), str(uuid4())
    a, b, c = b"a" * 32, b"b" * 32, b"c" * 32
    async with open_routes(kafka, topic_prefix) as (view, board):
        board.publish(make_routes(one, 1, secret_hashes=[a, b]), make_routes(other, 1, secret_hashes=[c]))
        assert await view.wait_for(one, 1, 60)
        assert await view.wait_for(other, 1, 60)
        assert [one, one, other] == [view.application_of(each) for each in (a, b, c)]
        board.publish(make_routes(one, 2, secret_hashes=[b]))
        assert await view.wait_for(one, 2, 60)

        assert [None, one, other] == [view.application_of(each) for each in (a, b, c)]


class Parts:
    """Publishes routes as gateways do: parts, then the head."""

    def __init__(self, board: Board, application_id: str) -> None:
        self._board = board
        self._application_id = application_id
        self._client = PlainClient(board.kafka)

    def write(self, version: int, *parts: tuple[str, RoutesPart | None], with_head: bool = True) -> None:
        topic, own = self._board.topics.routes, self._application_id
        partition = topic.locate(own.encode())
        records = [(f"{own}/{place}".encode(), to_bytes(part) if part is not None else None) for place, part in parts]
        if with_head:
            head = RoutesHead(
                application_id=own,
                organization_id="o",
                version=version,
                change_id=str(uuid4()),
                changed_at_us=0,
                deleted=False,
                control_plane_id="p",
                epoch=1,
            )
            records.append((own.encode(), to_bytes(head)))
        self._client.write(topic, records, partition=partition)

    def rule(self, name: str, created_version: int = 1) -> tuple[str, RoutesPart]:
        part = RoutesPart(
            application_id=self._application_id,
            kind="subscription",
            name=name,
            created_version=created_version,
            version=created_version,
            event_types=["a.b.c"],
        )
        return f"s/{name}", part


async def test_parts_apply_with_their_head(kafka: str, topic_prefix: str) -> None:
    """Every version that is kept has the parts of its time; what stands behind the last head does not apply yet."""
    application_id = str(uuid4())
    async with open_routes(kafka, topic_prefix, history_max=16) as (view, board):
        parts = Parts(board, application_id)
        parts.write(1, parts.rule("one"))
        parts.write(2, parts.rule("two", 2))
        parts.write(3, ("s/one", None))
        parts.write(4, parts.rule("three", 4), with_head=False)
        assert await view.wait_for(application_id, 3, 60)
        kept = [view.at(application_id, 0, version) for version in (1, 2, 3)]

        assert [["one"], ["one", "two"], ["two"]] == [routes and routes.match("a.b.c", {}) for routes in kept]
        parts.write(4)
        assert await view.wait_for(application_id, 4, 60)
        assert ["two", "three"] == match_now(view, application_id)


async def test_parts_behind_a_whole_record(kafka: str, topic_prefix: str) -> None:
    """An application that was published in one record goes on in parts; so does one that an older gateway publishes."""
    application_id = str(uuid4())
    async with open_routes(kafka, topic_prefix, history_max=16) as (view, board):
        parts = Parts(board, application_id)
        board.publish(make_routes(application_id, 1))
        assert await view.wait_for(application_id, 1, 60)
        parts.write(2, parts.rule("two", 2))
        assert await view.wait_for(application_id, 2, 60)
        both = match_now(view, application_id)
        board.publish(make_routes(application_id, 3))
        assert await view.wait_for(application_id, 3, 60)

        assert ["s1", "two"] == both
        assert ["s3"] == match_now(view, application_id)


async def test_after_a_restart_a_subscription_is_as_its_oldest_record(kafka: str, topic_prefix: str) -> None:
    """Older versions were compacted away: an event that waited meets the oldest one left, unless it came before it."""
    application_id = str(uuid4())
    config, topics = await make_topics(kafka, topic_prefix)
    board = Board(kafka, topics)
    parts = Parts(board, application_id)
    parts.write(5)
    parts.write(6, parts.rule("changed", 1))
    parts.write(7, parts.rule("new", 7))
    view = RoutesView(config, topics.routes, history_max=16)
    await view.start()
    try:
        kept = [view.at(application_id, 0, version) for version in (5, 6, 7)]
        assert [["changed"], ["changed"], ["changed", "new"]] == [
            routes and routes.match("a.b.c", {}) for routes in kept
        ]
    finally:
        await view.close()


async def test_poison_in_a_compacted_topic_is_passed_over(kafka: str, topic_prefix: str) -> None:
    """Records that cannot be read, have no key, or are tombstones are passed over: the rest is known all the same."""
    config, topics = await make_topics(kafka, topic_prefix)
    board, subscription_id, application_id = Board(kafka, topics), str(uuid4()), str(uuid4())
    board.write((None, b"x"), (b"k", None), (b"k", b"junk"), (b"\xff", b"\xc3\x01" + bytes(20)))
    board.publish(make_routes(application_id, 1))
    board.publish_endpoint(make_endpoint(subscription_id, 1, "https://x.test/"))
    routes, endpoints = RoutesView(config, topics.routes), EndpointsView(config, topics.endpoints)
    await asyncio.gather(routes.start(), endpoints.start())
    try:
        assert ["s1"] == match_now(routes, application_id)
        assert 1 == len(endpoints)
    finally:
        await asyncio.gather(routes.close(), endpoints.close())


async def test_a_record_that_cannot_be_applied_is_passed_over(kafka: str, topic_prefix: str) -> None:
    """An exception that no code foresaw concerns one record: those behind it in the same batch are applied."""
    config, topics = await make_topics(kafka, topic_prefix)
    board, applied = Board(kafka, topics), list[bytes | None]()

    def apply(key: str, value: bytes | None, appended_at_us: int) -> None:
        if value == b"poison":
            raise RecursionError("a filter nested thousands deep")
        applied.append(value)

    board.write((b"k", b"poison"), (b"k", b"good"))
    view = LogView(config, topics.routes, apply)
    await view.start()
    try:
        assert [b"good"] == applied
    finally:
        await view.close()


async def test_endpoints_are_the_newest(kafka: str, topic_prefix: str) -> None:
    """The newest version counts; a missing endpoint is waited for, in bounds, and not remembered if it never comes."""
    config, topics = await make_topics(kafka, topic_prefix)
    board, subscription_id = Board(kafka, topics), str(uuid4())
    view = EndpointsView(config, topics.endpoints)
    await view.start()
    try:
        assert await view.wait_for(str(uuid4()), 0.05) is None
        waiting = asyncio.create_task(view.wait_for(subscription_id, 60))
        board.publish_endpoint(make_endpoint(subscription_id, 2, "https://two.test/"))
        found = await waiting
        board.publish_endpoint(make_endpoint(subscription_id, 1, "https://one.test/"))
        other = str(uuid4())
        board.publish_endpoint(make_endpoint(other, 1, "https://other.test/"))
        await eventually(lambda: view.get(other))
        second = make_endpoint(subscription_id, 2, "https://two.test/")

        assert [second, second] == [found, view.get(subscription_id)]
        board.publish_endpoint(make_endpoint(subscription_id, 3, "https://three.test/"))
        await eventually(lambda: view.get(subscription_id) == make_endpoint(subscription_id, 3, "https://three.test/"))
    finally:
        await view.close()


async def test_deleted_endpoints_are_told(kafka: str, topic_prefix: str) -> None:
    """Each record of a deletion counts once, also one without a value; a late older record does not bring one back."""
    config, topics = await make_topics(kafka, topic_prefix)
    board, gone, removed, stays = Board(kafka, topics), str(uuid4()), str(uuid4()), str(uuid4())
    view, told = EndpointsView(config, topics.endpoints), list[str]()
    view.on_deleted = told.append
    await view.start()
    try:
        for each in (gone, removed, stays):
            board.publish_endpoint(make_endpoint(each, 1, "https://one.test/"))
        board.publish_endpoint(msgspec.structs.replace(make_endpoint(gone, 3, "https://one.test/"), deleted=True))
        board.publish_endpoint(make_endpoint(gone, 2, "https://one.test/"))
        board.write((removed.encode(), None))
        await eventually(lambda: len(told) >= 3)

        assert {gone, removed} == set(told)
        assert [False, False, True] == [view.is_alive(each) for each in (gone, removed, stays)]
        kept = view.get(gone)
        assert kept is not None
        assert [] == kept.secrets
    finally:
        await view.close()


async def test_a_view_of_a_kafka_that_is_away_says_so() -> None:
    """The view says so instead of starting without what it should know."""
    topics = declare_topics(prefix="x.", partitions=1, event_retention_s=3600)
    view = LogView(configure("127.0.0.1:1", "x."), topics.routes, lambda *_: None)

    with pytest.raises(StartError, match=r"cannot read topic x\.routes"):
        await view.start()
