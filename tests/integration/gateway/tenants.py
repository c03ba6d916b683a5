"""Two organizations with one of everything, and requests that mix their ids: for the property test of tenancy."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer
from hypothesis import strategies as st

from tests.support.api import OCCURRED_AT, Api, Reply, Space, describe_event
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.people import PASSWORD, Person, make_person
from tests.support.receiver import Receiver
from tests.support.stack import Stack

TYPE = "billing.invoice.paid"
SPARE_EVENTS = 1_000
TEMPLATED = re.compile(r"{(\w+)}")
WHOSE = ("theirs", "own", "theirs of another kind")
# paths whose `event_id`, or `id`, becomes the id of the caller's own event
INGEST_PATHS = ("/event", "/events", "/cloudevents")
# Members of bodies and queries that are no UUID and name something all the same: what they name.
NAMING = {
    "event_type": "event_type",
    "event_types": "event_type",
    "event_type_names": "event_type",
    "event.event_type_names": "event_type",
    "type": "event_type",
    "actor_id": "user_id",
    "resource_id": "subscription_id",
    "q": "delivery_id",
    "pagination_cursor": "cursor",
    "id": "event_id",
}
ALIASES = {"dead_ids": "dead_id", "application_ids": "application_id", "after": "user_id"}
# What makes a body valid, by member. Other texts are "text".
VALID: dict[str, Any] = {
    "payload": '{"n":1}',
    "payload_content_type": "application/json",
    "role": "viewer",
    "email": "unknown@example.org",
    "password": PASSWORD,
    "new_password": PASSWORD,
    "payload_filter": {"path": "/n", "op": "eq", "value": 1},
    "method": "POST",
    "url": "http://example.com/",
    "retry_delays_s": [1],
    "resource": "subscription",
    "step": "hour",
    "state": "delivered",
    "status": "failed",
    "labels": {"all": "yes"},
    "specversion": "1.0",
}
KEPT = frozenset({"labels"})  # an optional member without which a body is refused before its ids are looked at
UUID_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# what an answer has that is new in each
MADE = re.compile(
    rf"{UUID_TEXT.pattern}|\d{{4}}-\d\d-\d\dT[\d:.]+Z|hookline_st_[\w-]+|whs?[a-z]*_[\w+/=-]+|key=[\w-]+|\"audit_id\":\d+"
)
# a link's place may lie next to the one that was asked for
PLACE = re.compile(r"pagination_cursor=[\w-]+")
HEADERS_OF_EACH = frozenset({"date", "x-request-id", "etag"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An organization with one of everything. `known`: what a member names → its value; `marks`: never for others.

    `spare_event_ids`: of its events; each can become the id of one event of another application.
    """

    space: Space
    editor: Person
    known: Mapping[str, str]
    marks: frozenset[str]
    spare_event_ids: Iterator[str]


async def make_tenant(stack: Stack, receiver: Receiver, name: str, folder: Path) -> Tenant:
    """One of everything: a subscription with a client certificate, a delivery, a dead letter, people and tokens."""
    api, own_type = stack.api, f"kept.by.{name}"
    space, editor = await api.make_space(TYPE, own_type), await make_person(api)
    organization_id, application_id = space.organization_id, space.application_id
    await _succeed(api, "POST", f"/organizations/{organization_id}/invite", {"email": editor.email, "role": "editor"})
    made_token = {"organization_id": organization_id, "name": f"token of {name}"}
    token = (await _succeed(api, "POST", "/service_token", made_token)).json
    certificate, key = Authority(folder).client_certificate(name)
    tls = {"tls_client_cert_pem": certificate, "tls_client_key_pem": key}
    schedule = {"application_id": application_id, "name": f"schedule of {name}", "retry_delays_s": [1]}
    schedule = (await _succeed(api, "POST", "/retry_schedules", schedule)).json
    subscription = await api.subscribe(
        space,
        receiver.url(f"/{name}"),
        TYPE,
        description=f"mark of {name}",
        metadata={"mark": f"metadata of {name}"},
        delivery=tls,
    )
    event_id = await api.send(space, TYPE, payload=json.dumps(f"payload of {name}"))
    spare = [str(uuid4()) for _ in range(SPARE_EVENTS)]
    events = [describe_event(application_id, TYPE, event_id=each, labels={"selected": "by none"}) for each in spare]
    await _succeed(api, "POST", "/events", {"application_id": application_id, "events": events}, token=space.secret)
    await _write_junk(stack, application_id)
    delivery, letter = await eventually(lambda: _find_outcomes(api, application_id), timeout_s=60)
    cursor = {"date": OCCURRED_AT.replace("2026", "2025"), "id": event_id}
    known = {
        "organization_id": organization_id,
        "application_id": application_id,
        "subscription_id": subscription["subscription_id"],
        "event_id": event_id,
        "delivery_id": delivery["delivery_id"],
        "request_attempt_id": delivery["last_attempt_id"],
        "response_id": delivery["last_attempt_id"],
        "dead_id": letter["dead_id"],
        "retry_schedule_id": schedule["retry_schedule_id"],
        "token": space.secret,
        "token_id": token["token_id"],
        "user_id": editor.user_id,
        "event_type": own_type,
        "cursor": encode_cursor(cursor),
    }
    # of the certificate a line, as an answer would have it
    marks = {subscription["secret"], token["biscuit"], editor.email, certificate.splitlines()[1], key.splitlines()[1]}
    marks |= {
        f"of {name}",
        subscription["standard_webhooks_secret"],
        base64.b64encode(f"payload of {name}".encode()).decode()[4:20],
    }
    return Tenant(space=space, editor=editor, known=known, marks=frozenset(marks), spare_event_ids=iter(spare))


async def make_callers(stack: Stack, own: Tenant, other: Tenant) -> dict[str, str]:
    """A token of every kind and role of `own`, and of those who were the other's once: by what it is."""
    api, organization_id, application_id = stack.api, own.space.organization_id, own.space.application_id

    async def make_member(role: str, organization: str) -> Person:
        person = await make_person(api)
        await _succeed(api, "POST", f"/organizations/{organization}/invite", {"email": person.email, "role": role})
        return person

    async def make_token(organization: str, **limits: Any) -> dict[str, str]:
        body = {"organization_id": organization, "name": "ci"} | limits
        made: dict[str, str] = (await _succeed(api, "POST", "/service_token", body)).json
        return made

    second = {"organization_id": organization_id, "name": "Second"}
    second_id = (await _succeed(api, "POST", "/applications", second)).json["application_id"]
    scopes = ["events:ingest", "events:read", "subscriptions:write", "applications:read", "search:read"]
    revoked = await make_token(other.space.organization_id)
    path = f"/service_token/{revoked['token_id']}?organization_id={other.space.organization_id}"
    await _succeed(api, "DELETE", path)
    removed = await make_member("editor", other.space.organization_id)
    path = f"/organizations/{other.space.organization_id}/invite"
    await _succeed(api, "DELETE", path, {"user_id": removed.user_id})
    # the day before: it is expired from the first request on
    expired = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    return {
        "application secret": own.space.secret,
        "editor": own.editor.access,
        "viewer": (await make_member("viewer", organization_id)).access,
        "service token": (await make_token(organization_id))["biscuit"],
        "token with scopes": (await make_token(organization_id, scopes=scopes))["biscuit"],
        "token of an application": (await make_token(organization_id, application_ids=[application_id]))["biscuit"],
        "token of another application": (await make_token(organization_id, application_ids=[second_id]))["biscuit"],
        "expired token": (await make_token(organization_id, expires_at=expired))["biscuit"],
        "revoked token of the other": revoked["biscuit"],
        "removed from the other": removed.access,
        "member of nothing": (await make_person(api)).access,
        "refresh token": own.editor.refresh,
    }


def encode_cursor(fields: dict[str, str]) -> str:
    """A cursor as lists give it."""
    return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. `theirs`: values of another tenant in it; `new`: ids that can be used once."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str
    theirs: tuple[str, ...]
    new: tuple[str, ...] = ()

    def translate(self, values: Mapping[str, str]) -> "Request":
        """Replace those values by others."""
        return Request(
            method=self.method,
            path=translate(self.path, values),
            query={name: translate(text, values) for name, text in self.query.items()},
            body=json.loads(translate(json.dumps(self.body), values)),
            content_type=self.content_type,
            theirs=(),
        )

    async def send(self, api: Api, token: str) -> Reply:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": self.content_type}
        return await api.call(self.method, self.path, self.body, headers=headers, query=self.query)


class Requests:
    """Draws requests to one operation of the API's document. Each place for an id has an id of one of the tenants."""

    def __init__(self, document: dict[str, Any], path: str, method: str, *, own: Tenant, other: Tenant) -> None:
        self._components = document["components"]["schemas"]
        self._described = document["paths"][path][method]
        self._path, self._method = path, method
        self._own, self._other = own, other

    def draw(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Request:
        self._draw = draw
        self._places: list[str] = []
        parameters = [each for each in self._described["parameters"] if each["in"] != "header"]
        values = {each["name"]: self._make_parameter(each) for each in parameters if self._has_parameter(each)}
        contents = self._described.get("requestBody", {}).get("content", {})
        content_type = next(iter(contents), "application/json")
        body = self._make(contents[content_type]["schema"], "") if contents else None
        query = [each["name"] for each in parameters if each["in"] == "query" and each["name"] in values]
        theirs, new, filled = self._fill()
        return Request(
            method=self._method.upper(),
            path=TEMPLATED.sub(lambda match: translate(values[match[1]], filled), self._path),
            query={name: translate(values[name], filled) for name in query},
            body=json.loads(translate(json.dumps(body), filled)),
            content_type=content_type,
            theirs=theirs,
            new=new,
        )

    def _fill(self) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
        """The other's values, new ids, and a value for each place: mostly one is the other's and all else one's own."""
        theirs: list[str] = []
        new: list[str] = []
        filled: dict[str, str] = {}
        count = len(self._places)
        alone = self._draw(st.integers(-1, count - 1)) if count > 1 else -1
        for number, name in enumerate(self._places):
            whose = self._draw(st.sampled_from(WHOSE)) if alone == -1 else "theirs" if number == alone else "own"
            value = self._choose(name, whose, new)
            filled[mark_place(number)] = value
            if whose != "own" and value not in new:
                theirs.append(value)
        return tuple(dict.fromkeys(theirs)), tuple(new), filled

    def _has_parameter(self, parameter: dict[str, Any]) -> bool:
        is_naming = self._is_naming(parameter["name"], parameter["schema"])
        return bool(parameter["required"] or (is_naming and self._draw(st.booleans())))

    def _is_naming(self, name: str, schema: dict[str, Any]) -> bool:
        if "$ref" in schema:
            return False
        if "anyOf" in schema:
            return any(self._is_naming(name, each) for each in schema["anyOf"])
        if schema.get("type") == "array":
            return self._is_naming(name, schema["items"])
        return schema.get("type") == "string" and (schema.get("format") == "uuid" or name in NAMING)

    def _make_parameter(self, parameter: dict[str, Any]) -> str:
        if parameter["in"] == "path" and parameter["name"] == "name":
            return self._place("event_type")
        return str(self._make(parameter["schema"], parameter["name"]))

    def _make(self, schema: dict[str, Any], name: str) -> Any:
        if "$ref" in schema:
            return self._make(self._components[schema["$ref"].rpartition("/")[2]], name)
        if "anyOf" in schema:
            choices = [
                each for each in schema["anyOf"] if each.get("type") not in ("null", "array" if not name else "")
            ]
            return self._make(choices[0], name)
        if "enum" in schema:
            return VALID.get(name) if VALID.get(name) in schema["enum"] else schema["enum"][0]
        if self._is_naming(name, schema) and schema["type"] == "string":
            return self._place(name)
        if schema.get("type") == "array" and name not in VALID:
            item = {"$ref": "#/components/schemas/EventForm"} if name == "events" else schema["items"]
            return [self._make(item, name)]
        if name in VALID:
            return VALID[name]
        if "properties" in schema:
            return {
                each: self._make(inner, each) for each, inner in schema["properties"].items() if self._has(schema, each)
            }
        kind = schema.get("type")
        if kind == "string":
            return OCCURRED_AT if schema.get("format") == "date-time" else "text"
        return {"object": {}, "boolean": True, "integer": 1, "number": 1}.get(str(kind), "text")

    def _has(self, schema: dict[str, Any], name: str) -> bool:
        if name in schema.get("required", ()) or name in KEPT:
            return True
        return self._is_naming(name, schema["properties"][name]) and bool(self._draw(st.booleans()))

    def _place(self, name: str) -> str:
        self._places.append(name)
        return mark_place(len(self._places) - 1)

    def _choose(self, name: str, whose: str, new: list[str]) -> str:
        named = NAMING.get(name, ALIASES.get(name, name))
        if self._path in INGEST_PATHS and named == "event_id":
            spare = next(self._other.spare_event_ids, None) if whose == "theirs" else None
            if spare is None:
                new.append(spare := str(uuid4()))
            return spare
        known = self._own.known if whose == "own" else self._other.known
        is_id = named not in known or UUID_TEXT.fullmatch(known[named])
        # a kind of id that this test does not know: any
        if is_id and (named not in known or whose == "theirs of another kind"):
            named = self._draw(st.sampled_from([key for key in sorted(known) if UUID_TEXT.fullmatch(known[key])]))
        return known[named]


def mark_place(number: int) -> str:
    return f"<place {number}>"


def invent(values: Sequence[str]) -> dict[str, str]:
    """Invented values of the same form, by value."""
    invented = {}
    for value in values:
        if UUID_TEXT.fullmatch(value):
            invented[value] = str(uuid4())
        elif value.startswith("kept.by."):
            invented[value] = f"kept.by.{uuid4().hex[: len(value) - len('kept.by.')]}"
        else:
            fields = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
            invented[value] = encode_cursor(fields | {"id": str(uuid4())})
    return invented


def translate(text: str, values: Mapping[str, str]) -> str:
    for value, other in values.items():
        text = text.replace(value, other)
    return text


def summarise(reply: Reply, values: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers with other values in place of those; what a success makes new is left out."""
    text = translate(reply.text, values)
    headers = {
        name: PLACE.sub("place", translate(value, values))
        for name, value in reply.headers.items()
        if name.lower() not in HEADERS_OF_EACH
    }
    return reply.status, MADE.sub("made", text) if reply.status < 400 else text, headers


async def take_stock(stack: Stack, tenant: Tenant) -> dict[str, Any]:
    """All that the API shows of a tenant to the master key, with who changed what."""
    application = {"application_id": tenant.space.application_id}
    organization = {"organization_id": tenant.space.organization_id}
    shown = {}
    for path, query in (
        *((path, application) for path in ("/subscriptions", "/event_types", "/application_secrets", "/events")),
        *((path, application) for path in ("/deliveries", "/request_attempts", "/dead_letters", "/retry_schedules")),
        *((path, organization) for path in ("/applications", "/service_token", "/audit_log")),
        (f"/organizations/{tenant.space.organization_id}", {}),
        (f"/organizations/{tenant.space.organization_id}/quotas", {}),
        (f"/applications/{tenant.space.application_id}", {}),
        (f"/users/{tenant.editor.user_id}", {}),
        ("/dead_letters", application | {"with_redriven": "true"}),
    ):
        shown[f"{path} {query}"] = (await _succeed(stack.api, "GET", path, query=query)).json
    return shown


async def _succeed(api: Api, method: str, path: str, body: Any = None, **options: Any) -> Reply:
    reply = await api.call(method, path, body, **options)
    assert reply.status < 300, f"{method} {path}: {reply.text}"
    return reply


async def _write_junk(stack: Stack, application_id: str) -> None:
    """An event of a type that the application does not have, straight into Kafka: a dead letter."""
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    event = json.dumps(describe_event(application_id, "no.such.type")).encode()
    producer.produce(stack.topics.events.name, key=application_id.encode(), value=event)
    assert 0 == await asyncio.to_thread(producer.flush, 30)


async def _find_outcomes(api: Api, application_id: str) -> tuple[Any, Any]:
    query = {"application_id": application_id}
    deliveries = (await _succeed(api, "GET", "/deliveries", query=query)).json
    letters = (await _succeed(api, "GET", "/dead_letters", query=query)).json
    assert ["delivered"] == [delivery["state"]["type"] for delivery in deliveries]
    assert 1 == len(letters)
    return deliveries[0], letters[0]
