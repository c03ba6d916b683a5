"""Organizations, applications, secrets, event types and subscriptions over HTTP, as a Hook0 client knows them."""

import asyncio
import base64
import os
from uuid import UUID, uuid4

import psycopg
import pytest

from pipeline.core.signing.sealing import NONCE_BYTES, Sealer, parse_keys
from tests.support.api import Space, describe_event, describe_subscription, describe_type, find_link
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import KEYS, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
MANY = 2_000
OTHER_TYPE = "billing.invoice.voided"
URL = "http://example.com/"


async def test_organizations(stack: Stack) -> None:
    """An organization is made, shown, renamed, and deleted once it is empty."""
    created = await stack.api.call("POST", "/organizations", {"name": "Acme"})
    organization_id = created.json["organization_id"]
    path = f"/organizations/{organization_id}"
    application = await stack.api.call("POST", "/applications", {"organization_id": organization_id, "name": "Shop"})
    renamed = await stack.api.call("PUT", path, {"name": "Acme Inc."})
    listed = await stack.api.call("GET", "/organizations")
    refused = await stack.api.call("DELETE", path)
    await stack.api.call("DELETE", f"/applications/{application.json['application_id']}")
    deleted = await stack.api.call("DELETE", path)

    assert 200 == created.status
    assert "Acme Inc." == renamed.json["name"]
    assert "Acme Inc." in [found["name"] for found in listed.json if found["organization_id"] == organization_id]
    assert (409, "OrganizationIsNotEmpty") == refused.problem
    assert 204 == deleted.status
    assert (403, "Forbidden") == (await stack.api.call("GET", path)).problem


async def test_applications(stack: Stack) -> None:
    """An application is made, shown with what it has, renamed, listed and deleted."""
    space = await stack.api.make_space(TYPE)
    path = f"/applications/{space.application_id}"
    shown = await stack.api.call("GET", path, token=space.secret)
    renamed = await stack.api.call("PUT", path, {"organization_id": space.organization_id, "name": "Store"})
    listed = await stack.api.call("GET", f"/applications?organization_id={space.organization_id}")
    deleted = await stack.api.call("DELETE", path)

    assert {"event_type": "Done", "subscription": "ToDo", "event": "ToDo"} == shown.json["onboarding_steps"]
    assert "Store" == renamed.json["name"]
    assert [(space.application_id, "Store")] == [(found["application_id"], found["name"]) for found in listed.json]
    assert 204 == deleted.status
    for gateway in stack.apis:
        refused = await gateway.call("POST", "/event", describe_event(space.application_id, TYPE))

        assert (403, "Forbidden") == refused.problem


async def test_a_secret_works_at_once_and_not_after_it_was_revoked(stack: Stack) -> None:
    """A minted secret works on the very next request, at any gateway; a revoked one fails on the next."""
    first, second = stack.apis
    space = await first.make_space(TYPE)
    created = await first.call("POST", "/application_secrets", {"application_id": space.application_id, "name": "new"})
    token = created.json["token"]
    path = f"/application_secrets/{token}"
    accepted = await second.call("POST", "/event", describe_event(space.application_id, TYPE), token=token)
    renamed = await first.call("PUT", path, {"application_id": space.application_id, "name": "other"})
    listed = await second.call("GET", f"/application_secrets?application_id={space.application_id}")
    revoked = await first.call("DELETE", f"{path}?application_id={space.application_id}", token=space.secret)
    refused = await first.call("POST", "/event", describe_event(space.application_id, TYPE), token=token)

    assert 201 == accepted.status
    assert "other" == renamed.json["name"]
    assert {space.secret: "test", token: "other"} == {found["token"]: found["name"] for found in listed.json}
    assert all(found["deleted_at"] is None for found in listed.json)
    assert 204 == revoked.status
    assert (403, "AuthInvalidBiscuit") == refused.problem

    async def is_refused_elsewhere() -> bool:
        reply = await second.call("POST", "/event", describe_event(space.application_id, TYPE), token=token)
        return reply.status == 403

    await eventually(is_refused_elsewhere)
    gone = await first.call("DELETE", f"{path}?application_id={space.application_id}")

    assert (404, "NotFound") == gone.problem


async def test_event_types(stack: Stack) -> None:
    """Event types are made (again and again), listed by name, shown, deactivated and brought back."""
    space = await stack.api.make_space(OTHER_TYPE, TYPE)
    query = f"?application_id={space.application_id}"
    again = await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE), token=space.secret)
    listed = await stack.api.call("GET", f"/event_types{query}", token=space.secret)
    shown = await stack.api.call("GET", f"/event_types/{TYPE}{query}", token=space.secret)
    deactivated = await stack.api.call("DELETE", f"/event_types/{TYPE}{query}", token=space.secret)
    refused = await stack.api.call("POST", "/event", describe_event(space.application_id, TYPE), token=space.secret)
    missing = await stack.api.call("GET", f"/event_types/{TYPE}{query}", token=space.secret)
    twice = await stack.api.call("DELETE", f"/event_types/{TYPE}{query}", token=space.secret)
    await stack.api.call("POST", "/event_types", describe_type(space.application_id, TYPE), token=space.secret)
    accepted = await stack.api.call("POST", "/event", describe_event(space.application_id, TYPE), token=space.secret)

    expected = {
        "service_name": "billing",
        "resource_type_name": "invoice",
        "verb_name": "paid",
        "event_type_name": TYPE,
    }
    assert (201, expected) == (again.status, again.json)
    assert [TYPE, OTHER_TYPE] == [found["event_type_name"] for found in listed.json]
    assert expected.items() <= shown.json.items()
    assert 204 == deactivated.status
    assert (400, "EventTypeDoesNotExist") == refused.problem
    assert (404, "NotFound") == missing.problem
    assert (404, "NotFound") == twice.problem
    assert 201 == accepted.status


async def test_a_new_event_type_is_known_to_every_gateway(stack: Stack) -> None:
    """An event of a type made a moment ago is accepted wherever it is sent."""
    first, second = stack.apis
    space = await first.make_space()
    for number in range(10):
        name = f"billing.invoice.t{number}"
        await first.call("POST", "/event_types", describe_type(space.application_id, name))
        accepted = await second.call("POST", "/event", describe_event(space.application_id, name), token=space.secret)

        assert 201 == accepted.status, accepted.text


async def test_subscriptions(stack: Stack) -> None:
    """A subscription is made with every member a client expects, shown, listed, replaced and deleted."""
    space = await stack.api.make_space(TYPE, OTHER_TYPE)
    created = await stack.api.subscribe(space, "http://example.com", TYPE, metadata={"m": "1"}, labels={"a": "b"})
    path = f"/subscriptions/{created['subscription_id']}"
    shown = await stack.api.call("GET", path, token=space.secret)
    body = describe_subscription(space.application_id, "https://example.com/b?c=d", OTHER_TYPE, is_enabled=False)
    replaced = await stack.api.call("PUT", path, body, token=space.secret)
    listed = await stack.api.call("GET", f"/subscriptions?application_id={space.application_id}", token=space.secret)
    deleted = [
        await stack.api.call("DELETE", f"{path}?application_id={space.application_id}", token=space.secret)
        for _ in range(2)
    ]
    unknown = await stack.api.call(
        "DELETE", f"/subscriptions/{uuid4()}?application_id={space.application_id}", token=space.secret
    )

    members = (
        "application_id subscription_id is_enabled event_types description secret metadata label_key label_value "
        "labels target created_at updated_at dedicated_workers"
    )
    assert set(members.split()) <= created.keys()
    assert str(UUID(created["secret"])) == created["secret"]
    assert "whsec_" + base64.b64encode(created["secret"].encode()).decode() == created["standard_webhooks_secret"]
    assert "http://example.com" == created["target"]["url"]
    assert ("a", "b") == (created["label_key"], created["label_value"])
    assert created | {"health": shown.json["health"]} == shown.json
    assert [replaced.json] == listed.json
    assert created["secret"] == replaced.json["secret"]
    assert ([OTHER_TYPE], False) == (replaced.json["event_types"], replaced.json["is_enabled"])
    assert "https://example.com/b?c=d" == replaced.json["target"]["url"]
    assert created["created_at"] == replaced.json["created_at"] < replaced.json["updated_at"]
    assert [204, 204] == [reply.status for reply in deleted]
    assert (404, "NotFound") == unknown.problem
    assert (404, "NotFound") == (await stack.api.call("GET", path, token=space.secret)).problem


async def test_a_subscription_of_a_deactivated_type_can_be_changed(stack: Stack) -> None:
    """The owner can disable it, and keep or leave the type; a type that it did not name is still refused."""
    space = await stack.api.make_space(TYPE, "a.b.c", "d.e.f")
    created = await stack.api.subscribe(space, URL, TYPE, "a.b.c")
    for name in ("a.b.c", "d.e.f"):
        await stack.api.call("DELETE", f"/event_types/{name}?application_id={space.application_id}")
    path = f"/subscriptions/{created['subscription_id']}"
    same = describe_subscription(space.application_id, URL, TYPE, "a.b.c", is_enabled=False)
    disabled = await stack.api.call("PUT", path, same, token=space.secret)
    other = await stack.api.call("PUT", path, same | {"event_types": [TYPE, "d.e.f"]}, token=space.secret)
    left = await stack.api.call("PUT", path, same | {"event_types": [TYPE]}, token=space.secret)
    again = await stack.api.call("PUT", path, same, token=space.secret)
    new = await stack.api.call("POST", "/subscriptions", same, token=space.secret)

    assert (200, False) == (disabled.status, disabled.json["is_enabled"])
    assert (400, "EventTypeDoesNotExist") == other.problem
    assert 200 == left.status
    assert (400, "EventTypeDoesNotExist") == again.problem
    assert (400, "EventTypeDoesNotExist") == new.problem


async def test_legacy_labels(stack: Stack) -> None:
    """One label in the old form is the same as a map of one."""
    space = await stack.api.make_space(TYPE)
    created = await stack.api.subscribe(space, URL, TYPE, labels=None, label_key="k", label_value="v")

    assert {"k": "v"} == created["labels"]


async def test_a_legacy_label_may_be_longer_than_those_of_events(stack: Stack) -> None:
    """Long labels are shown as given, can be written back as read, and select nothing; shorter ones select."""
    key, value = "ü" * 100, "🙂" * 100
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        url = receiver.url("/long")
        created = await stack.api.subscribe(space, url, TYPE, labels=None, label_key=key, label_value=value)
        await stack.api.subscribe(space, receiver.url("/short"), TYPE)
        path = f"/subscriptions/{created['subscription_id']}"
        shown = await stack.api.call("GET", path, token=space.secret)
        missed = await stack.api.send(space, TYPE)
        written = await stack.api.call("PUT", path, shown.json, token=space.secret)
        missed_again = await stack.api.send(space, TYPE)
        shorter = await stack.api.call("PUT", path, shown.json | {"labels": {"all": "yes"}}, token=space.secret)
        selected = await stack.api.send(space, TYPE)
        await eventually(lambda: (len(receiver.requests("/short")), len(receiver.requests("/long"))) == (3, 1))
        attempts = [await stack.api.list_attempts(space, each) for each in (missed, missed_again, selected)]

    assert (key, value, {key: value}) == (shown.json["label_key"], shown.json["label_value"], shown.json["labels"])
    assert (200, {key: value}) == (written.status, written.json["labels"])
    assert (200, {"all": "yes"}) == (shorter.status, shorter.json["labels"])
    assert [1, 1, 2] == [len(each) for each in attempts]
    assert [selected] == [request.header("X-Event-Id") for request in receiver.requests("/long")]


async def test_changes_apply_to_the_very_next_event(stack: Stack) -> None:
    """Created, replaced, disabled, enabled, deleted: each applies to the event after it, through whichever gateway."""
    first, second = stack.apis
    space = await first.make_space(TYPE, OTHER_TYPE)
    async with Receiver() as receiver:
        for turn in range(5):
            created = await first.subscribe(space, receiver.url("/a"), TYPE)
            path = f"/subscriptions/{created['subscription_id']}"
            expected: list[str] = []
            expected.append(await second.send(space, TYPE))
            body = describe_subscription(space.application_id, receiver.url("/a"), OTHER_TYPE)
            await first.call("PUT", path, body)
            unmatched = [await second.send(space, TYPE)]
            expected.append(await second.send(space, OTHER_TYPE))
            await eventually(lambda: turn * 3 + 2 == len(receiver.requests("/a")))  # noqa: B023 - called in this turn
            await second.call("PUT", path, body | {"is_enabled": False})
            unmatched.append(await first.send(space, OTHER_TYPE))
            await first.call("PUT", path, body)
            expected.append(await second.send(space, OTHER_TYPE))
            await eventually(lambda: turn * 3 + 3 == len(receiver.requests("/a")))  # noqa: B023 - called in this turn
            await second.call("DELETE", f"{path}?application_id={space.application_id}")
            unmatched.append(await first.send(space, OTHER_TYPE))
            attempts = {event_id: await first.list_attempts(space, event_id) for event_id in expected + unmatched}

            assert [1] * 3 == [len(attempts[event_id]) for event_id in expected]
            assert [0] * 3 == [len(attempts[event_id]) for event_id in unmatched]
            # in any order: requests to one endpoint go side by side
            received = [request.header("X-Event-Id") for request in receiver.requests("/a")[turn * 3 :]]
            assert sorted(expected) == sorted(received)


async def test_concurrent_changes_are_all_published(stack: Stack) -> None:
    """Changes made at once through several gateways are all in force afterwards, none overwritten by an older one."""
    space = await stack.api.make_space()
    names = [f"billing.invoice.t{number}" for number in range(24)]
    replies = await asyncio.gather(
        *(
            stack.apis[number % 2].call("POST", "/event_types", describe_type(space.application_id, name))
            for number, name in enumerate(names)
        )
    )
    accepted = [
        await api.call("POST", "/event", describe_event(space.application_id, name), token=space.secret)
        for name in names
        for api in stack.apis
    ]

    assert {201} == {reply.status for reply in replies}
    assert {201} == {reply.status for reply in accepted}


async def test_disable_and_delete_cancel_at_once(stack: Stack) -> None:
    """Pending deliveries have failed as soon as their subscription is disabled or deleted, and are not sent."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/*", Status(500))
        for method in ("PUT", "DELETE"):
            # on a slow machine the retry of the default schedule would be made meanwhile
            later = {"retry_delays_s": [600]}
            created = await stack.api.subscribe(space, receiver.url(f"/{method}"), TYPE, delivery=later)
            path = f"/subscriptions/{created['subscription_id']}"
            event_id = await stack.api.send(space, TYPE)
            await eventually(lambda: receiver.requests(f"/{method}"))  # noqa: B023 - called in this turn

            async def is_recorded() -> bool:
                return len(await stack.api.list_attempts(space, event_id)) == 2  # noqa: B023 - called in this turn

            await eventually(is_recorded)
            if method == "PUT":
                body = describe_subscription(space.application_id, receiver.url("/PUT"), TYPE, is_enabled=False)
                await stack.api.call("PUT", path, body)
            else:
                await stack.api.call("DELETE", f"{path}?application_id={space.application_id}")
            waiting, made = await stack.api.list_attempts(space, event_id)

            assert ("failed", "failed") == (waiting["status"]["type"], made["status"]["type"])
            assert waiting["failed_at"] is not None
            assert waiting["response_id"] is None
            assert made["response_id"] is not None


@pytest.mark.parametrize("path", ["/subscriptions/?", "//subscriptions?", "///subscriptions//?"])
async def test_slashes_are_tolerated(stack: Stack, path: str) -> None:
    """Slashes at the end are optional and repeated ones are one: clients differ."""
    space = await stack.api.make_space()
    reply = await stack.api.call("GET", f"{path}application_id={space.application_id}", token=space.secret)

    assert (200, []) == (reply.status, reply.json)


async def test_lists_of_what_is_configured_have_pages(stack: Stack) -> None:
    """Each item once, in order; without a limit all are on one page, as clients of Hook0 expect."""
    names = [f"a.b.{name}" for name in "CaBdé"]
    space = await stack.api.make_space(*names)
    for _ in range(5):
        await stack.api.subscribe(space, "https://example.com/", names[0])
    for path, key in (("/event_types", "event_type_name"), ("/subscriptions", "subscription_id")):
        whole = await stack.api.call("GET", f"{path}?application_id={space.application_id}")
        link: str | None = f"{path}?application_id={space.application_id}&limit=2"
        pages = []
        while link is not None:
            page = await stack.api.call("GET", link, token=space.secret)
            pages.append([each[key] for each in page.json])
            link = find_link(page, "next")

        assert [2, 2, 1] == [len(page) for page in pages]
        assert [each[key] for each in whole.json] == [name for page in pages for name in page]
        back = [pages[-1]]
        while (link := find_link(page, "prev")) is not None:
            page = await stack.api.call("GET", link, token=space.secret)
            back.append([each[key] for each in page.json])
        onward = await stack.api.call("GET", find_link(page, "next") or "", token=space.secret)
        assert [*pages[::-1], []] == back
        assert pages[0] == [each[key] for each in onward.json]
        refused = await stack.api.call("GET", f"{path}?application_id={space.application_id}&limit=0")
        assert (400, "InvalidQuery") == refused.problem


async def test_pages_of_what_is_deleted_meanwhile(stack: Stack) -> None:
    """A page that has become empty leads back to all that are left, none skipped and none twice."""
    names = [f"a.b.{name}" for name in "abcd"]
    space = await stack.api.make_space(*names)
    made = [await stack.api.subscribe(space, "https://example.com/", names[0]) for _ in names]
    of_application = f"application_id={space.application_id}"
    for path, key, ids in (
        ("/subscriptions", "subscription_id", [each["subscription_id"] for each in made]),
        ("/event_types", "event_type_name", names),
    ):
        first = await stack.api.call("GET", f"{path}?{of_application}&limit=2")
        for each in ids[2:]:
            assert 204 == (await stack.api.call("DELETE", f"{path}/{each}?{of_application}")).status
        empty = await stack.api.call("GET", find_link(first, "next") or "")
        back = await stack.api.call("GET", find_link(empty, "prev") or "")

        assert ([], ids[:2]) == (empty.json, [each[key] for each in back.json])
        again = await stack.api.call("GET", find_link(back, "next") or "")
        for each in ids[:2]:
            assert 204 == (await stack.api.call("DELETE", f"{path}/{each}?{of_application}")).status
        none = await stack.api.call("GET", find_link(again, "prev") or "")
        assert ([], []) == (again.json, none.json)


async def test_a_long_list_lets_others_have_a_turn(stack: Stack) -> None:
    """Ten thousand subscriptions are shown in seconds of one processor, in which other requests are answered."""
    space = await stack.api.make_space(TYPE)
    await stack.api.subscribe(space, "http://example.com/", TYPE)
    add_subscriptions(stack, space, MANY - 1)
    path = f"/subscriptions?application_id={space.application_id}"
    listing = asyncio.create_task(stack.api.call("GET", path, token=space.secret))
    answered = 0
    while not listing.done():
        await stack.api.call("GET", "/payload_content_types")
        answered += 1
    ids = [each["subscription_id"] for each in listing.result().json]

    assert MANY == len(ids) == len(set(ids))
    assert answered > MANY / 100


def add_subscriptions(stack: Stack, space: Space, count: int) -> None:
    """More subscriptions like the one that the application has, straight into the database."""
    sealer = Sealer(parse_keys(KEYS))
    secrets = []
    for _ in range(count):
        subscription_id = str(uuid4())
        sealed = sealer.seal(str(uuid4()).encode(), context=subscription_id, nonce=os.urandom(NONCE_BYTES))
        secrets.append((subscription_id, sealed.sealed))
    with psycopg.connect(stack.database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, metadata, labels, "
            "target_method, target_url, target_headers, delivery, key_id, sealed, created_at, updated_at, "
            "changed_version, created_version) select %s, application_id, false, event_types, metadata, labels, "
            "target_method, target_url, target_headers, delivery, key_id, %s, created_at, updated_at, changed_version, "
            "created_version from subscriptions where application_id = %s order by created_at limit 1",
            [(*each, space.application_id) for each in secrets],
        )
