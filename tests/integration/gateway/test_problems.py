"""Answers to requests that cannot be served: every row of the contract, against a real gateway."""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from yarl import URL

from pipeline.gateway.problems import OWN, PROBLEMS
from tests.support.api import describe_event, describe_subscription, describe_type
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
UNKNOWN_ID = "5b7f8f0e-8f6e-4f55-a9a4-0c2c8f1f0a01"
BIG = "x" * 699_051

# name → (members of the event that differ, status, id, code of the finding)
EVENTS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "empty type": ({"event_type": ""}, 422, "Validation", "length"),
    "long type": ({"event_type": "t" * 201}, 422, "Validation", "length"),
    "control character": ({"event_type": "a\u0007b"}, 422, "Validation", "non_control_character"),
    "long payload": ({"payload": BIG}, 422, "Validation", "length"),
    "no labels": ({"labels": {}}, 422, "Validation", "labels-size"),
    "eleven labels": ({"labels": {str(n): "v" for n in range(11)}}, 422, "Validation", "labels-size"),
    "empty label": ({"labels": {"a": ""}}, 422, "Validation", "labels-property-length"),
    "long label in bytes": ({"labels": {"ä" * 26: "v"}}, 422, "Validation", "labels-property-length"),
    "much metadata": ({"metadata": {str(n): "v" for n in range(51)}}, 422, "Validation", "metadata-size"),
    "long metadata": ({"metadata": {"k": "v" * 51}}, 422, "Validation", "metadata-property-length"),
    "unknown content type": ({"payload_content_type": "text/xml"}, 400, "EventInvalidPayloadContentType", None),
    "no JSON": ({"payload": "{nope"}, 400, "EventInvalidJsonPayload", None),
    "NaN": ({"payload": "[NaN]"}, 400, "EventInvalidJsonPayload", None),
    "deep JSON": ({"payload": "[" * 100_000}, 400, "EventInvalidJsonPayload", None),
    "no base64": (
        {"payload": "no base64!", "payload_content_type": "application/octet-stream+base64"},
        400,
        "EventInvalidBase64Payload",
        None,
    ),
    "unknown type": ({"event_type": "billing.invoice.unknown"}, 400, "EventTypeDoesNotExist", None),
    "foreign application": ({"application_id": UNKNOWN_ID}, 403, "Forbidden", None),
    "payload no string": ({"payload": {"a": 1}}, 400, "JsonPayload", None),
    "id no UUID": ({"event_id": "7"}, 400, "JsonPayload", None),
    "application no UUID": ({"application_id": "7"}, 400, "JsonPayload", None),
    "labels no map": ({"labels": [1]}, 400, "JsonPayload", None),
    "label no string": ({"labels": {"a": 1}}, 400, "JsonPayload", None),
    "no time zone": ({"occurred_at": "2026-01-02T03:04:05"}, 400, "JsonPayload", None),
    "no time": ({"occurred_at": "yesterday"}, 400, "JsonPayload", None),
    "null time": ({"occurred_at": None}, 400, "JsonPayload", None),
    "null labels": ({"labels": None}, 400, "JsonPayload", None),
}

# name → (members of the subscription that differ, status, id, code of the finding)
SUBSCRIPTIONS: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "no event types": ({"event_types": []}, 422, "Validation", "event-types-size"),
    "empty event type": ({"event_types": [""]}, 422, "Validation", "event-types-name-length"),
    "101 event types": ({"event_types": [f"a.b.c{n}" for n in range(101)]}, 422, "Validation", "event-types-size"),
    "unknown event type": ({"event_types": ["a.b.c"]}, 400, "EventTypeDoesNotExist", None),
    "no labels at all": ({"labels": None}, 400, "LabelsAmbiguity", None),
    "half a legacy label": ({"labels": None, "label_key": "a"}, 400, "LabelsAmbiguity", None),
    "empty legacy key": ({"labels": None, "label_key": "", "label_value": "v"}, 422, "Validation", "length"),
    "long legacy value": ({"labels": None, "label_key": "k", "label_value": "v" * 101}, 422, "Validation", "length"),
    "long label": ({"labels": {"k": "v" * 51}}, 422, "Validation", "labels-property-length"),
    "empty description": ({"description": ""}, 422, "Validation", "length"),
    "much metadata": ({"metadata": {str(n): "v" for n in range(51)}}, 422, "Validation", "metadata-size"),
    "workers": ({"dedicated_workers": ["mine"]}, 400, "UnauthorizedWorkers", None),
    "no enabled": ({"is_enabled": None}, 400, "JsonPayload", None),
    "no target": ({"target": None}, 400, "JsonPayload", None),
}

# name → (members of the target that differ, code of the finding)
TARGETS: dict[str, tuple[dict[str, Any], str]] = {
    "lower-case method": ({"method": "post"}, "subscription-target-http-method"),
    "unknown method": ({"method": "BREW"}, "subscription-target-http-method"),
    "long URL": ({"url": "http://example.com/" + "p" * 1000}, "subscription-target-http-url-length"),
    "another scheme": ({"url": "ftp://example.com/"}, "subscription-target-http-url"),
    "no host": ({"url": "http://?x"}, "subscription-target-http-url"),
    "no URL": ({"url": "nowhere"}, "subscription-target-http-url"),
    "user in URL": ({"url": "http://user:password@example.com/"}, "subscription-target-http-url"),
    "forbidden header": ({"headers": {"Host": "other"}}, "subscription-target-http-headers"),
    "no header name": ({"headers": {"a b": "c"}}, "subscription-target-http-headers"),
    "line break in header": ({"headers": {"a": "b\r\nc: d"}}, "subscription-target-http-headers"),
    "eleven headers": ({"headers": {f"h{n}": "v" for n in range(11)}}, "subscription-target-http-headers-size"),
    "long header": ({"headers": {"h": "v" * 501}}, "subscription-target-http-headers-property-length"),
}


# member of the event type that differs → its value, code of the finding
TYPE_PARTS: tuple[tuple[str, str, str], ...] = (
    *((part, "a\tb", "non_control_character") for part in ("service", "resource_type", "verb")),
    *((part, "a\u200db", "visible_character") for part in ("service", "resource_type", "verb")),
    *((part, "", "length") for part in ("service", "resource_type", "verb")),
    *((part, "ü" * 51, "length") for part in ("service", "resource_type", "verb")),
    ("service", " a", "blank"),
    ("verb", "a ", "blank"),
    ("service", "hookline", "reserved"),
)


def codes_of(tree: Any) -> set[str]:
    """All codes in a tree of findings."""
    if isinstance(tree, list):
        return {finding["code"] for finding in tree}
    return set().union(*(codes_of(inner) for inner in tree.values()))


@pytest.mark.parametrize("name", EVENTS)
async def test_refused_events(stack: Stack, name: str) -> None:
    """A malformed event gets the documented problem, and nothing of it is accepted."""
    members, status, problem_id, code = EVENTS[name]
    space = await stack.api.make_space(TYPE)
    body = describe_event(space.application_id, TYPE) | members
    reply = await stack.api.call("POST", "/event", body, token=space.secret)
    events = await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)

    assert (status, problem_id) == reply.problem
    assert ({code} if code else set()) == (codes_of(reply.json["validation"]) if code else set())
    assert (code is None) == (reply.json["validation"] is None)
    assert [] == events.json


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
async def test_refused_subscriptions(stack: Stack, name: str) -> None:
    """A malformed subscription gets the documented problem, when it is made and when it is replaced."""
    members, status, problem_id, code = SUBSCRIPTIONS[name]
    space = await stack.api.make_space(TYPE)
    known = await stack.api.subscribe(space, "http://example.com/", TYPE)
    body = describe_subscription(space.application_id, "http://example.com/", TYPE) | members
    for method, path in (("POST", "/subscriptions"), ("PUT", f"/subscriptions/{known['subscription_id']}")):
        reply = await stack.api.call(method, path, body, token=space.secret)

        assert (status, problem_id) == reply.problem
        if code is not None:
            assert {code} == codes_of(reply.json["validation"])


@pytest.mark.parametrize("name", TARGETS)
async def test_refused_targets(stack: Stack, name: str) -> None:
    """A target that nothing can be sent to is refused when it is set, not when it is needed."""
    members, code = TARGETS[name]
    space = await stack.api.make_space(TYPE)
    body = describe_subscription(space.application_id, "http://example.com/", TYPE)
    body["target"] |= members
    reply = await stack.api.call("POST", "/subscriptions", body, token=space.secret)

    assert (422, "Validation") == reply.problem
    assert {code} == codes_of(reply.json["validation"])


@pytest.mark.parametrize(("part", "text", "code"), TYPE_PARTS)
async def test_refused_parts_of_event_types(stack: Stack, part: str, text: str, code: str) -> None:
    """A finding stands under the member that causes it, and under no other."""
    space = await stack.api.make_space()
    body = describe_type(space.application_id, TYPE) | {part: text}
    reply = await stack.api.call("POST", "/event_types", body, token=space.secret)

    assert (422, "Validation") == reply.problem
    assert {part: [code]} == {
        field: [finding["code"] for finding in findings] for field, findings in reply.json["validation"].items()
    }


async def test_all_parts_of_an_event_type_are_checked_at_once(stack: Stack) -> None:
    """One answer names every part that has a control character."""
    space = await stack.api.make_space()
    body = {"application_id": space.application_id, "service": "\x01", "resource_type": "\x7f", "verb": "\x85"}
    reply = await stack.api.call("POST", "/event_types", body, token=space.secret)

    assert (422, "Validation") == reply.problem
    assert {"service", "resource_type", "verb"} == reply.json["validation"].keys()


async def test_a_loop_is_refused(stack: Stack) -> None:
    """An event that comes with the marks of several deliveries is not taken: what it causes would come back again."""
    space = await stack.api.make_space(TYPE)
    headers = {"Authorization": f"Bearer {space.secret}", "Content-Type": "application/json"}
    body = describe_event(space.application_id, TYPE)
    once = await stack.api.call("POST", "/event", body, headers=headers | {"Hookline-Hop": "a"})
    often = await stack.api.call("POST", "/event", body, headers=headers | {"Hookline-Hop": "a, b, a, b"})

    assert 201 == once.status
    assert (422, "Validation") == often.problem


async def test_several_mistakes_are_told_at_once(stack: Stack) -> None:
    """One answer lists all problems of a request."""
    space = await stack.api.make_space(TYPE)
    body = describe_event(space.application_id, "", labels={})
    reply = await stack.api.call("POST", "/event", body, token=space.secret)

    assert {"event_type", "labels"} == reply.json["validation"].keys()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"text"', b"[" * 100_000])
async def test_bodies_that_are_no_event(stack: Stack, body: bytes) -> None:
    """A body that is no JSON of the right form is a `JsonPayload`, whatever it is."""
    space = await stack.api.make_space()
    reply = await stack.api.call("POST", "/event", data=body, token=space.secret)

    assert (400, "JsonPayload") == reply.problem


async def test_another_content_type_is_refused(stack: Stack) -> None:
    """A form or a text is not taken for JSON."""
    headers = {"Authorization": f"Bearer {(await stack.api.make_space()).secret}", "Content-Type": "text/plain"}
    reply = await stack.api.call("POST", "/event", data=b"{}", headers=headers)

    assert (400, "JsonPayload") == reply.problem


async def test_too_large_bodies_are_refused(stack: Stack) -> None:
    """A body over the limit is refused, and says what the limit is."""
    space = await stack.api.make_space()
    reply = await stack.api.call("POST", "/event", data=b"x" * (6 * 1024 * 1024), token=space.secret)

    assert (413, "JsonPayload") == reply.problem
    assert str(5 * 1024 * 1024) in reply.json["detail"]


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, (401, "AuthNoAuthorizationHeader")),
        ("", (403, "AuthInvalidBiscuit")),
        ("Bearer", (403, "AuthInvalidBiscuit")),
        ("Bearer nonsense", (403, "AuthInvalidBiscuit")),
        (f"Bearer {UNKNOWN_ID}", (403, "AuthInvalidBiscuit")),
        (UNKNOWN_ID, (403, "AuthInvalidBiscuit")),
        ("Basic dXNlcjpwYXNz", (403, "AuthInvalidBiscuit")),
    ],
)
async def test_refused_tokens(stack: Stack, authorization: str | None, expected: tuple[int, str]) -> None:
    """No token is 401; an unknown one is 403, before the body is read."""
    headers = {"Content-Type": "application/json"} | ({} if authorization is None else {"Authorization": authorization})
    for method, path in (
        ("POST", "/event"),
        ("GET", "/organizations"),
        ("GET", f"/events?application_id={UNKNOWN_ID}"),
    ):
        reply = await stack.api.call(method, path, headers=headers, data=b"{" if method == "POST" else None)

        assert expected == reply.problem


async def test_undecodable_header(stack: Stack) -> None:
    """A header that is no text is told apart from a wrong token."""
    url = URL(stack.api.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    # by hand: no client library sends such a thing
    writer.write(b"GET /api/v1/organizations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readuntil(b"}")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 400 ")
    assert "AuthInvalidAuthorizationHeader" == json.loads(body)["id"]


async def test_the_prefix_is_optional(stack: Stack) -> None:
    """Some clients send the token alone; another spelling of the UUID, or of the scheme (RFC 9110 §11.1): the same."""
    space = await stack.api.make_space(TYPE)
    spellings = (space.secret, f"Bearer {space.secret}", f"Bearer {space.secret.upper()}", f"bearer {space.secret}")
    for authorization in (*spellings, f"BEARER  {space.secret}"):
        headers = {"Authorization": authorization}
        reply = await stack.api.call("GET", f"/event_types?application_id={space.application_id}", headers=headers)

        assert 200 == reply.status


async def test_an_application_secret_stays_in_its_application(stack: Stack) -> None:
    """Nothing of another application can be seen or changed, and its ids cannot be guessed by the answers."""
    own, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    subscription = await stack.api.subscribe(other, "http://example.com/", TYPE)
    event_id = await stack.api.send(other, TYPE)
    query = f"?application_id={other.application_id}"
    forbidden = [
        ("POST", "/event", describe_event(other.application_id, TYPE)),
        ("GET", f"/events{query}", None),
        ("GET", f"/events/{event_id}{query}", None),
        ("GET", f"/request_attempts{query}", None),
        ("GET", f"/event_types{query}", None),
        ("POST", "/event_types", describe_type(other.application_id, "a.b.c")),
        ("DELETE", f"/event_types/{TYPE}{query}", None),
        ("GET", f"/subscriptions{query}", None),
        ("POST", "/subscriptions", describe_subscription(other.application_id, "http://example.com/", TYPE)),
        ("DELETE", f"/subscriptions/{subscription['subscription_id']}{query}", None),
        ("GET", f"/application_secrets{query}", None),
        ("POST", "/application_secrets", {"application_id": other.application_id}),
        ("DELETE", f"/application_secrets/{other.secret}{query}", None),
        ("GET", f"/applications/{other.application_id}", None),
        ("DELETE", f"/applications/{other.application_id}", None),
        ("GET", "/organizations", None),
        ("POST", "/organizations", {"name": "Mine"}),
        ("GET", f"/applications?organization_id={other.organization_id}", None),
        ("POST", "/applications", {"organization_id": own.organization_id, "name": "Mine"}),
    ]
    for method, path, body in forbidden:
        reply = await stack.api.call(method, path, body, token=own.secret)

        assert (403, "Forbidden") == reply.problem, f"{method} {path}"
    # with its own application in the query, the other's ids do not exist
    mine = f"?application_id={own.application_id}"
    hidden = [
        ("GET", f"/events/{event_id}{mine}", None),
        ("GET", f"/subscriptions/{subscription['subscription_id']}", None),
        ("DELETE", f"/subscriptions/{subscription['subscription_id']}{mine}", None),
        (
            "PUT",
            f"/subscriptions/{subscription['subscription_id']}",
            describe_subscription(own.application_id, "http://example.com/", TYPE),
        ),
    ]
    for method, path, body in hidden:
        reply = await stack.api.call(method, path, body, token=own.secret)

        assert (404, "NotFound") == reply.problem, f"{method} {path}"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/events", (400, "InvalidQuery")),
        ("GET", "/events?application_id=x", (400, "InvalidQuery")),
        ("GET", "/events/x?application_id={application_id}", (404, "NotFound")),
        ("GET", "/subscriptions/x", (404, "NotFound")),
        ("GET", "/events?application_id={application_id}&application_id={application_id}", (400, "InvalidQuery")),
        ("GET", "/deliveries?application_id={application_id}&state=dead&state=dead", (400, "InvalidQuery")),
        ("GET", "/events_per_day/application?application_id={application_id}&from=20261101", (400, "InvalidQuery")),
        ("GET", "/events/export?application_id={application_id}&to=2026-W45-1", (400, "InvalidQuery")),
        ("GET", "/request_attempts?application_id={application_id}&min_created_at=now", (400, "InvalidQuery")),
        ("GET", "/request_attempts?application_id={application_id}&pagination_cursor=junk", (400, "InvalidQuery")),
        ("GET", "/nowhere", (404, "NotFound")),
        ("PATCH", "/events", (405, "MethodNotAllowed")),
    ],
)
async def test_unreadable_paths_and_queries(stack: Stack, method: str, path: str, expected: tuple[int, str]) -> None:
    """A path or a query that cannot be read is answered with a problem document, like every failure."""
    space = await stack.api.make_space()
    reply = await stack.api.call(method, path.format(application_id=space.application_id), token=space.secret)

    assert expected == reply.problem


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/organizations", {"name": "x"}),
        ("/organizations", {"name": "x" * 51}),
        ("/applications", {"organization_id": UNKNOWN_ID, "name": "x"}),
    ],
)
async def test_names_have_a_length(stack: Stack, path: str, body: dict[str, Any]) -> None:
    """Names have 2 to 50 characters."""
    reply = await stack.api.call("POST", path, body)

    assert (422, "Validation") == reply.problem
    assert {"length"} == codes_of(reply.json["validation"])


@pytest.mark.parametrize(
    ("path", "owner"), [("/application_secrets", "application"), ("/service_token", "organization")]
)
async def test_names_of_tokens_have_a_maximum_only(stack: Stack, path: str, owner: str) -> None:
    """Names of 0 to 50 characters are taken, as at Hook0."""
    space = await stack.api.make_space()
    body = {f"{owner}_id": getattr(space, f"{owner}_id")}
    made = [await stack.api.call("POST", path, body | {"name": name}) for name in ("", "x" * 50)]
    refused = await stack.api.call("POST", path, body | {"name": "x" * 51})

    assert [(201, ""), (201, "x" * 50)] == [(reply.status, reply.json["name"]) for reply in made]
    assert (422, "Validation") == refused.problem
    assert {"name"} == refused.json["validation"].keys()


@pytest.mark.parametrize("form", ["{hyphenless}", "{id}", "{upper}", "{{{id}}}", "urn:uuid:{id}"])
async def test_forms_of_ids_that_are_read(stack: Stack, form: str) -> None:
    """The forms of a UUID in a path, a query and as a token; the answer has the canonical one."""
    space = await stack.api.make_space(TYPE)
    event_id = await stack.api.send(space, TYPE)

    def write(text: str) -> str:
        return form.format(id=text, hyphenless=text.replace("-", ""), upper=text.upper())

    query = {"application_id": write(space.application_id)}
    reply = await stack.api.call("GET", f"/events/{write(event_id)}", token=write(space.secret), query=query)

    assert (200, event_id) == (reply.status, reply.json["event_id"])


@pytest.mark.parametrize("change", ["fullwidth digit", "odd hyphens", "0x", "underscores"])
async def test_what_only_looks_like_an_id(stack: Stack, change: str) -> None:
    """Texts that only Python reads as a UUID, or as the hexadecimal number of one, are refused."""
    space = await stack.api.make_space(TYPE)
    event_id = "00000000-0000-4000-8000-000000000001"
    await stack.api.send(space, TYPE, event_id=event_id)
    changed = {
        "fullwidth digit": "\uff10" + event_id[1:],
        "odd hyphens": "0-0000000-0000-4000-8000-000000000001",
        "0x": "0x" + event_id.replace("-", "")[2:],
        "underscores": "0_0_" + event_id.replace("-", "")[4:],
    }[change]
    query = {"application_id": space.application_id}
    in_path = await stack.api.call("GET", f"/events/{changed}", token=space.secret, query=query)
    in_query = await stack.api.call("GET", "/deliveries", token=space.secret, query=query | {"event_id": changed})

    assert (404, "NotFound") == in_path.problem
    assert (400, "InvalidQuery") == in_query.problem


async def test_every_answer_has_security_headers(stack: Stack) -> None:
    """Answers that are errors have them, too."""
    for path in ("/errors", "/nowhere", "/organizations"):
        reply = await stack.api.call("GET", path, headers={})

        assert "nosniff" == reply.headers["X-Content-Type-Options"]
        assert "DENY" == reply.headers["X-Frame-Options"]
        assert {"Referrer-Policy", "X-XSS-Protection"} <= reply.headers.keys()


async def test_the_catalogue_is_public(stack: Stack) -> None:
    """Clients can look up every problem there is, without a token."""
    of_hook0 = await stack.api.call("GET", "/errors", headers={})
    reply = await stack.api.call("GET", "/errors?all=true", headers={})

    assert 46 == len(of_hook0.json)  # its clients refuse a list with others in it
    assert {kind.id: kind.status for kind in PROBLEMS.values()} == {p["id"]: p["status"] for p in reply.json}
    assert {problem["id"] for problem in of_hook0.json} == PROBLEMS.keys() - OWN


async def test_nobody_registers_unless_it_is_allowed(stack: Stack) -> None:
    """The master key alone creates users by default."""
    person = {"first_name": "A", "last_name": "B", "email": "a@example.org", "password": "correct horse battery"}
    reply = await stack.api.call("POST", "/register", person, headers={"Content-Type": "application/json"})

    assert (410, "RegistrationDisabled") == reply.problem


async def test_a_mistake_of_ours_says_so_and_nothing_else(stack: Stack) -> None:
    """A row that cannot be read is answered by 500, without what is in it; the next request is served."""
    space = await stack.api.make_space(TYPE)
    made = await stack.api.subscribe(space, "http://example.com/", TYPE)
    path, secret = f"/subscriptions/{made['subscription_id']}", "no JSON, and not to be read"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(
            "update subscriptions set metadata = %s where subscription_id = %s", (secret, made["subscription_id"])
        )
        failed = await stack.api.call("GET", path, token=space.secret)
        connection.execute(
            "update subscriptions set metadata = '{}' where subscription_id = %s", (made["subscription_id"],)
        )
        shown = await stack.api.call("GET", path, token=space.secret)

    assert (500, "InternalServerError") == failed.problem
    assert secret not in failed.text
    assert 200 == shown.status
