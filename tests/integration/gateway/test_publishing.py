"""Records that a change puts into the log: only changed ones, whatever the application has besides; and repairs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Literal
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.core.events.records import RoutesHead, RoutesPart, from_bytes
from pipeline.gateway.publishing import LEASE_S
from pipeline.kafka.routes_view import RoutesView
from pipeline.kafka.tail import read_tail
from pipeline.postgres.control.subscription_copies import copy_subscription
from pipeline.postgres.pool import open_pool
from tests.support.api import describe_event, describe_subscription, describe_type
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
URL = "http://example.com/"
# 152 characters, the longest there is
LONG_TYPES = [f"{'s' * 50}.{'r' * 50}.{number:050}" for number in range(100)]
COPIES = 400


@asynccontextmanager
async def routes_in_log(stack: Stack) -> AsyncIterator[RoutesView]:
    """Read the routes as a process that starts now does."""
    view = RoutesView(stack.kafka, stack.topics.routes)
    await view.start()
    try:
        yield view
    finally:
        await view.close()


async def test_limits_that_multiply(stack: Stack) -> None:
    """Hundreds of subscriptions to a hundred long types with ten labels: a secret is revoked all the same, at once."""
    space = await stack.api.make_space(TYPE)
    spare = await stack.api.call("POST", "/application_secrets", {"application_id": space.application_id})
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        for name in LONG_TYPES:
            service, resource_type, verb = name.split(".")
            database.execute(
                "insert into event_types (application_id, name, service, resource_type, verb, changed_version) "
                "select application_id, %s, %s, %s, %s, routes_version + 1 from applications where application_id = %s",
                (name, service, resource_type, verb, space.application_id),
            )
        labels = {f"label{number}": "x" * 50 for number in range(10)}
        body = describe_subscription(space.application_id, URL, *LONG_TYPES, labels=labels)
        created = await stack.api.call("POST", "/subscriptions", body)
        pool = await open_pool(DatabaseConfig(), SecretStr(stack.database_url), name="test")
        await copy_subscription(pool, created.json["subscription_id"], COPIES)
        await pool.close()
    renewed = await stack.api.call("POST", "/event_types", describe_type(space.application_id, "billing.invoice.void"))
    revoked = await stack.api.call(
        "DELETE", f"/application_secrets/{spare.json['token']}?application_id={space.application_id}"
    )
    refused = await stack.api.call(
        "POST", "/event", describe_event(space.application_id, TYPE), token=spare.json["token"]
    )
    event = describe_event(space.application_id, LONG_TYPES[7], labels=labels)
    accepted = await stack.api.call("POST", "/event", event, token=space.secret)

    async def matches() -> int:
        with psycopg.connect(stack.database_url) as database:
            row = database.execute(
                "select matches_count from dispatches where event_id = %s", (event["event_id"],)
            ).fetchone()
        return row[0] if row is not None else 0

    assert [201, 201, 204] == [created.status, renewed.status, revoked.status]
    assert (403, "AuthInvalidBiscuit") == refused.problem
    assert 201 == accepted.status
    assert COPIES + 1 == await eventually(matches, timeout_s=60)
    # the secrets of copies do not open: tests that list whatever they find are not to find them
    removed = await stack.api.call("DELETE", f"/applications/{space.application_id}")
    assert 204 == removed.status


async def test_a_publication_whose_end_failed(stack: Stack) -> None:
    """A session that ends before the end of a publication is noted holds up the next change by no more than itself."""
    space = await stack.api.make_space()
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        database.execute(
            "create function refuse_to_note() returns trigger language plpgsql as "
            "$$ begin raise 'canceling statement due to user request' using errcode = 'query_canceled'; end $$"
        )
        database.execute(
            SQL(
                "create trigger refuse_to_note before update on applications for each row when "
                "(new.application_id = {} and new.published_version > old.published_version) "
                "execute function refuse_to_note()"
            ).format(Literal(space.application_id))
        )
        failed = await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))
        database.execute("drop trigger refuse_to_note on applications")
        database.execute("drop function refuse_to_note")
    begun_s = time.monotonic()
    changed = await stack.api.call("POST", "/event_types", describe_type(space.application_id, "billing.invoice.void"))
    took_s = time.monotonic() - begun_s

    assert (503, 201) == (failed.status, changed.status)
    assert took_s < LEASE_S / 3


async def test_a_change_costs_what_it_changes(stack: Stack) -> None:
    """One record for what changed and one that makes it apply, however much the application has."""
    space = await stack.api.make_space(*(f"billing.invoice.verb{number}" for number in range(20)))
    subscriptions = [await stack.api.subscribe(space, URL, "billing.invoice.verb1") for _ in range(5)]
    before = await read_application(stack, space.application_id)
    await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE))
    await stack.api.call(
        "DELETE",
        f"/subscriptions/{subscriptions[2]['subscription_id']}?application_id={space.application_id}",
    )
    after = await read_application(stack, space.application_id)
    new = after[len(before) :]
    head = [from_bytes(value) for _, value in new if value is not None]

    assert [f"t/{TYPE}", "", f"s/{subscriptions[2]['subscription_id']}", ""] == [place for place, _ in new]
    assert [RoutesPart, RoutesHead, RoutesHead] == [type(record) for record in head]
    assert max(len(value or b"") for _, value in new) < 500


async def read_application(stack: Stack, application_id: str) -> list[tuple[str, bytes | None]]:
    """Read an application's records in the routes topic, in order: the key's part behind the slash, and the value."""
    topic = stack.topics.routes
    everywhere = dict.fromkeys(range(topic.partitions), 0)
    records, _ = await asyncio.to_thread(read_tail, stack.kafka, topic, everywhere, records_max=1_000_000)
    found = [((record.key or b"").decode(), record.value) for record in records]
    return [(key.partition("/")[2], value) for key, value in found if key.partition("/")[0] == application_id]


async def test_an_application_published_before_there_were_parts(stack: Stack) -> None:
    """The first change of one whose routes the log has in one record brings all of it in parts."""
    space = await stack.api.make_space(TYPE)
    kept = await stack.api.subscribe(space, URL, TYPE)
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        # as the migration leaves them
        database.execute(
            "update event_types set changed_version = 0 where application_id = %s", (space.application_id,)
        )
        database.execute(
            "update application_secrets set changed_version = 0 where application_id = %s", (space.application_id,)
        )
        database.execute(
            "update applications set parts_version = 0, published_change_id = null where application_id = %s",
            (space.application_id,),
        )
    before = len(await read_application(stack, space.application_id))
    await stack.api.call("POST", "/event_types", describe_type(space.application_id, "billing.invoice.void"))
    new = [place for place, _ in (await read_application(stack, space.application_id))[before:]]
    async with routes_in_log(stack) as view:
        routes = view.current(space.application_id)
        assert routes is not None

        assert [kept["subscription_id"]] == routes.match(TYPE, {"all": "yes"})
    assert sorted([f"s/{kept['subscription_id']}", f"t/{TYPE}", "t/billing.invoice.void", new[3]]) == sorted(new[:-1])
    assert new[3].startswith("k/")
    assert "" == new[-1]


async def test_one_application_that_cannot_be_published_holds_up_no_other(stack: Stack) -> None:
    """Other applications are published, whatever is wrong with one."""
    broken, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    await stack.api.subscribe(broken, URL, TYPE)
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        break_labels = "update subscriptions set labels = %s where application_id = %s"
        database.execute(break_labels, ("no json", broken.application_id))
        ids = [broken.application_id, other.application_id]
        database.execute(
            "update subscriptions set changed_version = changed_version + 1 where application_id = any(%s::uuid[])",
            (ids,),
        )
        database.execute(
            "update applications set routes_version = routes_version + 1 where application_id = any(%s::uuid[])", (ids,)
        )

        def is_published() -> bool:
            row = database.execute(
                "select published_version = routes_version from applications where application_id = %s",
                (other.application_id,),
            ).fetchone()
            return row is not None and bool(row[0])

        await eventually(is_published)
        await eventually(lambda: any("repair_failed" in process.log() for process in stack.processes["gateway"]))
        database.execute(break_labels, ("{}", broken.application_id))

    assert all(process.is_running for process in stack.processes["gateway"])


async def test_every_version_of_a_subscription_is_kept(stack: Stack) -> None:
    """Which rule an event met can be told later: by its dispatch's routes version."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        first = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await stack.api.send(space, TYPE)
        path = f"/subscriptions/{first['subscription_id']}"
        body = describe_subscription(space.application_id, receiver.url("/b"), TYPE, labels={"region": "eu"})
        replaced = await stack.api.call("PUT", path, body)
        disabled = await stack.api.call("PUT", path, body | {"is_enabled": False})
        deleted = await stack.api.call("DELETE", f"{path}?application_id={space.application_id}")

        def find_version() -> int | None:
            with psycopg.connect(stack.database_url) as database:
                row = database.execute(
                    "select routes_version from dispatches where event_id = %s", (event_id,)
                ).fetchone()
            return row[0] if row is not None else None

        met = await eventually(find_version, timeout_s=60)
    with psycopg.connect(stack.database_url) as database:
        rows = database.execute(
            "select from_version, to_version, is_enabled, labels, target_url from subscription_versions "
            "where subscription_id = %s order by from_version",
            (first["subscription_id"],),
        ).fetchall()

    assert [200, 200, 204] == [replaced.status, disabled.status, deleted.status]
    assert [True, True, False] == [row[2] for row in rows]
    assert [{"all": "yes"}, {"region": "eu"}, {"region": "eu"}] == [json.loads(row[3]) for row in rows]
    assert [row[0] for row in rows[1:]] == [row[1] for row in rows[:-1]]
    assert rows[-1][1] is not None
    assert receiver.url("/a") == next(row[4] for row in rows if row[0] <= met < row[1])


async def test_changes_at_two_gateways_at_once(stack: Stack) -> None:
    """Forty changes of one application by two gateways: all are answered, and the log ends with all of them."""
    space = await stack.api.make_space(TYPE)
    names = [f"billing.invoice.verb{number}" for number in range(40)]
    replies = await asyncio.gather(
        *(
            stack.apis[number % 2].call("POST", "/event_types", describe_type(space.application_id, name))
            for number, name in enumerate(names)
        )
    )
    async with routes_in_log(stack) as view:
        routes = view.current(space.application_id)
        assert routes is not None

        assert [201] * 40 == [reply.status for reply in replies]
        assert [True] * 40 == [routes.has_type(name) for name in names]


async def test_what_can_never_be_published_is_not_saved(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """A subscription of more than a record is refused, by POST and by PUT, and nothing of it is left."""
    settings = {"KAFKA_RECORD_MAX_BYTES": str(64 * 1024)}
    async with run_stack(kafka, postgres, migrated_template, "gateway", **settings) as stack:
        space = await stack.api.make_space(TYPE)
        created = await stack.api.subscribe(space, URL, TYPE)
        authority = Authority(tmp_path).ca_file.read_text()
        body = describe_subscription(space.application_id, URL, TYPE)
        body["delivery"] = {"tls_ca_pem": authority * (64 * 1024 // len(authority))}
        refused = [
            await stack.api.call("POST", "/subscriptions", body),
            await stack.api.call("PUT", f"/subscriptions/{created['subscription_id']}", body),
        ]
        listed = await stack.api.call("GET", f"/subscriptions?application_id={space.application_id}")

    assert {(422, "Validation")} == {reply.problem for reply in refused}
    assert {"subscription-size"} == {reply.json["validation"]["delivery"][0]["code"] for reply in refused}
    assert [created] == listed.json


async def test_a_gateway_that_died_while_it_published(stack: Stack) -> None:
    """The dead gateway's lease runs out; until then a change waits, and then it is published."""
    space = await stack.api.make_space(TYPE)
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        database.execute(
            "update applications set publishing_by = %s, publishing_until = now() + interval '3 s' "
            "where application_id = %s",
            (str(uuid4()), space.application_id),
        )
    reply = await stack.api.call("POST", "/event_types", describe_type(space.application_id, "billing.invoice.void"))
    accepted = await stack.api.send(space, "billing.invoice.void")

    assert 201 == reply.status
    assert accepted
