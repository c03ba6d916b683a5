"""The audit log: every change, who made it, nothing secret, and nothing that can be changed."""

import re
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pipeline.gateway.accounts.audit import PAGE_ENTRIES
from tests.support.api import describe_subscription, describe_type, find_link
from tests.support.eventually import eventually
from tests.support.people import PASSWORD, make_person
from tests.support.receiver import Receiver, Status
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
# What people cannot change, what follows from a change that is noted, and secrets, whose change is noted with its time.
NOT_NOTED = frozenset(
    (
        "created_at",
        "updated_at",
        "last_login_at",
        "organization_id",
        "application_id",
        "user_id",
        "subscription_id",
        "token_id",
        "retry_schedule_id",
        "token_hash",
        "email_key",
        "service",
        "resource_type",
        "verb",
        "routes_version",
        "published_version",
        "change_id",
        "published_change_id",
        "parts_version",
        "publishing_by",
        "publishing_until",
        "changed_version",
        "created_version",
        "cancelled_before",
        "cancelled_before_version",
        "held_until",
        "key_id",
        "sealed",
        "previous_key_id",
        "previous_sealed",
        "tls_key_id",
        "tls_sealed",
    )
)


async def read(stack: Stack, query: str, *, token: str | None = None) -> list[dict[str, Any]]:
    reply = await stack.api.call("GET", f"/audit_log?{query}", token=token)
    assert reply.status == 200, reply.text
    entries: list[dict[str, Any]] = reply.json
    return entries


async def test_every_change_is_noted_with_who_made_it(stack: Stack) -> None:
    """Changes by user, token, secret and master key are noted in their own transactions; reading leaves no trace."""
    person = await make_person(stack.api)
    organization_id = person.organization_id
    token = (
        await stack.api.call(
            "POST", "/service_token", {"organization_id": organization_id, "name": "ci"}, token=person.access
        )
    ).json
    application_id = (
        await stack.api.call(
            "POST", "/applications", {"organization_id": organization_id, "name": "Shop"}, token=token["biscuit"]
        )
    ).json["application_id"]
    secret = (
        await stack.api.call("POST", "/application_secrets", {"application_id": application_id, "name": "first"})
    ).json["token"]
    await stack.api.call("POST", "/event_types", describe_type(application_id, TYPE), token=secret)
    target = {"type": "http", "method": "POST", "url": "http://example.com/s3cr3t", "headers": {"X-Key": "s3cr3t"}}
    body = describe_subscription(application_id, "", TYPE, target=target, metadata={"k": "s3cr3t"})
    subscription = (await stack.api.call("POST", "/subscriptions", body, token=secret)).json
    path = f"/subscriptions/{subscription['subscription_id']}"
    await stack.api.call("PUT", path, body | {"is_enabled": False}, token=secret)
    await stack.api.call("GET", path, token=secret)
    await stack.api.call("POST", f"{path}/rotate_secret", {"application_id": application_id}, token=secret)
    await stack.api.call("DELETE", f"{path}?application_id={application_id}", token=secret)
    entries = await read(stack, f"organization_id={organization_id}", token=person.access)
    found = [(each["actor"]["kind"], each["action"], each["resource"]) for each in reversed(entries)]

    assert [
        ("master_key", "created", "organization"),
        ("master_key", "created", "member"),
        ("user", "created", "service_token"),
        ("service_token", "created", "application"),
        ("master_key", "created", "application_secret"),
        ("application_secret", "created", "event_type"),
        ("application_secret", "created", "subscription"),
        ("application_secret", "changed", "subscription"),
        ("application_secret", "changed", "subscription"),
        ("application_secret", "deleted", "subscription"),
    ] == found
    by_user, disabled = entries[-3], entries[2]
    assert {"kind": "user", "id": person.user_id, "address": "127.0.0.1"} == by_user["actor"]
    assert token["token_id"] == by_user["resource_id"]
    assert {"is_enabled": [True, False]} == disabled["changes"]
    text = str(entries)
    for hidden in ("s3cr3t", secret, token["biscuit"], subscription["secret"], person.access, PASSWORD):
        assert hidden not in text
    page = await read(stack, f"organization_id={organization_id}&before={entries[3]['audit_id']}")
    assert entries[4:] == page
    of_one = await read(stack, f"organization_id={organization_id}&resource=subscription&actor_id={application_id}")
    assert 4 == len(of_one)


async def test_pages_lead_on_and_back(stack: Stack) -> None:
    """Each entry once in both ways, while others come; the newest page leads to what comes after it."""
    space = await stack.api.make_space()
    path = f"/applications/{space.application_id}"
    body = {"organization_id": space.organization_id}
    for number in range(PAGE_ENTRIES + 5):
        assert 200 == (await stack.api.call("PUT", path, body | {"name": f"Shop {number}"})).status
    query = f"/audit_log?organization_id={space.organization_id}&resource=application"
    first = await stack.api.call("GET", query)
    second = await stack.api.call("GET", find_link(first, "next") or "")
    await stack.api.call("PUT", path, body | {"name": "Another shop"})
    back = await stack.api.call("GET", find_link(second, "prev") or "")
    newest = await stack.api.call("GET", find_link(back, "prev") or "")
    beyond = await stack.api.call("GET", find_link(newest, "prev") or "")
    onward = await stack.api.call("GET", find_link(beyond, "next") or "")
    ids = {
        name: [entry["audit_id"] for entry in page.json]
        for name, page in (("first", first), ("second", second), ("back", back), ("newest", newest), ("on", onward))
    }

    assert (PAGE_ENTRIES, 6) == (len(ids["first"]), len(ids["second"]))
    assert sorted(ids["first"] + ids["second"], reverse=True) == ids["first"] + ids["second"]
    assert ids["first"] == ids["back"]
    assert [["Shop 104", "Another shop"]] == [entry["changes"]["name"] for entry in newest.json]
    assert ([], ids["newest"]) == (beyond.json, ids["on"][:1])
    assert (ids["newest"] + ids["first"])[:PAGE_ENTRIES] == ids["on"]
    assert find_link(second, "next") is None
    empty = await stack.api.call("GET", f"{query}&before={ids['second'][-1]}")
    behind = await stack.api.call("GET", find_link(empty, "prev") or "")
    assert [] == empty.json
    assert ids["second"][-1] == behind.json[-1]["audit_id"]


async def test_a_change_under_way_is_not_skipped(stack: Stack) -> None:
    """Reading on waits for a change with a lower `audit_id` than one that has ended; the newest page does not."""
    space = await stack.api.make_space()
    body = {"organization_id": space.organization_id, "name": "Another"}
    another_id = (await stack.api.call("POST", "/applications", body)).json["application_id"]
    query = f"/audit_log?organization_id={space.organization_id}"
    begun = await stack.api.call("GET", query)
    async with await psycopg.AsyncConnection.connect(stack.database_url) as slow:
        await slow.execute("update applications set name = 'Under way' where application_id = %s", (another_id,))
        ended = await stack.api.call("PUT", f"/applications/{space.application_id}", body | {"name": "Ended"})
        assert 200 == ended.status
        newest = await stack.api.call("GET", query)
        waiting = await stack.api.call("GET", find_link(begun, "prev") or "")
        await slow.commit()
    behind_newest = await stack.api.call("GET", find_link(newest, "prev") or "")
    behind_waiting = await stack.api.call("GET", find_link(waiting, "prev") or "")
    names = [
        [entry["changes"]["name"][1] for entry in page.json if entry["action"] == "changed"]
        for page in (newest, waiting, behind_newest, behind_waiting)
    ]

    assert [["Ended"], [], ["Ended", "Under way"], ["Ended", "Under way"]] == names


async def test_every_column_that_can_be_changed_is_noted(stack: Stack) -> None:
    """A column that comes to a table is noted by its trigger, or stands above with the reason why not."""
    with psycopg.connect(stack.database_url) as connection:
        triggers = connection.execute(
            "select tgrelid::regclass::text, pg_get_triggerdef(t.oid), array(select attname::text from pg_attribute "
            "where attrelid = tgrelid and attnum > 0 and not attisdropped) "
            "from pg_trigger t join pg_proc p on p.oid = tgfoid where proname = 'note_change'"
        ).fetchall()
    for table, definition, columns in triggers:
        *_, shown, hidden = re.findall("'([^']*)'", definition)
        updated = re.search(r"UPDATE OF (.*?) ON", definition)
        noted = {*shown.split(), *hidden.split()}

        assert set() == {*columns} - noted - NOT_NOTED - {"name"}, table
        assert updated is None or noted == {*updated[1].split(", ")}, table
    assert 9 < len(triggers)


async def test_a_filter_is_noted_and_not_shown(stack: Stack) -> None:
    """A subscription that gets other events than before has been changed, also when only its filter was."""
    space = await stack.api.make_space(TYPE)
    body = describe_subscription(space.application_id, "http://example.com/", TYPE)
    path = f"/subscriptions/{(await stack.api.call('POST', '/subscriptions', body)).json['subscription_id']}"
    wanted = {"path": "/secret", "op": "eq", "value": "s3cr3t"}
    assert 200 == (await stack.api.call("PUT", path, body | {"payload_filter": wanted}, token=space.secret)).status
    entries = await read(stack, f"organization_id={space.organization_id}&resource=subscription")

    assert [{"payload_filter": "(not shown)"}] == [each["changes"] for each in entries if each["action"] == "changed"]
    assert "application_secret" == entries[0]["actor"]["kind"]


async def test_users_are_noted_too(stack: Stack) -> None:
    """The making of a user, a new password and its end are noted; the password is not."""
    person = await make_person(stack.api)
    new = {"new_password": "sieben nasse Handtuecher"}
    assert 204 == (await stack.api.call("POST", "/auth/password", new, token=person.access)).status
    assert 204 == (await stack.api.call("DELETE", f"/users/{person.user_id}", token=person.access)).status
    entries = await read(stack, f"resource=user&resource_id={person.user_id}")

    assert [("user", "deleted"), ("user", "changed"), ("master_key", "created")] == [
        (each["actor"]["kind"], each["action"]) for each in entries
    ]
    assert {"password_hash": "(not shown)"} == entries[1]["changes"]


async def test_what_is_no_cause_to_note(stack: Stack) -> None:
    """A change that was refused, and what Hookline writes for itself."""
    space = await stack.api.make_space(TYPE)
    before = await read(stack, f"organization_id={space.organization_id}")
    refused = await stack.api.call(
        "PUT", f"/applications/{space.application_id}", {"organization_id": space.organization_id, "name": "x"}
    )
    await stack.api.send(space, TYPE)

    assert 422 == refused.status
    assert before == await read(stack, f"organization_id={space.organization_id}")


async def test_requests_to_send_again_are_noted(stack: Stack) -> None:
    """A replay, a retry, a test and a redrive say who asked for what; a refused one and a dry run leave no entry."""
    space = await stack.api.make_space(TYPE)
    own = {"application_id": space.application_id}
    async with Receiver() as receiver:
        receiver.script("/a", Status(500), Status(200))
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE, delivery={"retry_delays_s": []})
        event_id = await stack.api.send(space, TYPE)
        (failed,) = await stack.api.wait_for_outcomes(space, event_id, "failed")
        latest = (await read(stack, f"organization_id={space.organization_id}"))[0]["audit_id"]
        letters = f"/dead_letters?application_id={space.application_id}"

        async def has_died() -> bool:
            return len((await stack.api.call("GET", letters)).json) == 1

        await eventually(has_died)

        async def ask(path: str, **more: Any) -> int:
            return (await stack.api.call("POST", path, own | more, token=space.secret)).status

        statuses = [
            await ask(f"/events/{event_id}/replay", subscription_id=made["subscription_id"]),
            await ask(f"/events/{uuid4()}/replay"),
            await ask(f"/request_attempts/{failed['request_attempt_id']}/retry"),
            await ask(f"/request_attempts/{uuid4()}/retry"),
            await ask(f"/subscriptions/{made['subscription_id']}/test"),
            await ask("/dead_letters/redrive", reason="exhausted", dry_run=True),
            await ask("/dead_letters/redrive", reason="exhausted"),
            await ask("/dead_letters/redrive", reason="exhausted"),
        ]
        entries = await read(stack, f"organization_id={space.organization_id}&after={latest}")

    assert [204, 404, 201, 404, 201, 200, 200, 200] == statuses
    found = [(each["action"], each["resource"], each["resource_id"]) for each in reversed(entries)]
    assert [
        ("replayed", "event", event_id),
        ("retried", "request_attempt", failed["request_attempt_id"]),
        ("tested", "subscription", made["subscription_id"]),
        ("redriven", "dead_letter", "several"),
    ] == found
    redriven, _, _, replayed = entries
    assert {"subscription_id": made["subscription_id"], "deliveries": 1} == replayed["changes"]
    assert {"reason": "exhausted", "limit": 10_000} == redriven["changes"]
    for entry in entries:
        assert space.application_id == entry["application_id"]
        assert ("application_secret", "127.0.0.1") == (entry["actor"]["kind"], entry["actor"]["address"])


async def test_nothing_of_it_can_be_changed(stack: Stack) -> None:
    """PostgreSQL refuses it unless the triggers are dropped; old entries may be deleted."""
    space = await stack.api.make_space()
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        for statement in (
            "update audit_log set actor_id = 'another'",
            "delete from audit_log",
            "truncate audit_log cascade",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                connection.execute(statement)
        connection.execute(
            "insert into audit_log (changed_at, actor_kind, organization_id, resource, resource_id, action, changes) "
            "values (now() - interval '31 days', 'system', %s, 'old', '', 'changed', '{}')",
            (space.organization_id,),
        )
        assert 1 == connection.execute("delete from audit_log where resource = 'old'").rowcount


async def test_it_is_read_by_editors(stack: Stack) -> None:
    """Viewers, application secrets and others are refused; the master key alone reads all of it."""
    space, viewer, other = await stack.api.make_space(), await make_person(stack.api), await make_person(stack.api)
    await stack.api.call(
        "POST", f"/organizations/{space.organization_id}/invite", {"email": viewer.email, "role": "viewer"}
    )
    for token in (viewer.access, other.access, space.secret):
        for query in (f"?organization_id={space.organization_id}", ""):
            assert (403, "Forbidden") == (await stack.api.call("GET", f"/audit_log{query}", token=token)).problem
    for before in ("x", "-1", "9" * 30):
        assert (400, "InvalidQuery") == (await stack.api.call("GET", f"/audit_log?before={before}")).problem
