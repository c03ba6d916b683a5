"""A client of the HTTP API for tests: says what came back, and makes what a test needs before it begins."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from tests.support.described import find_deviation
from tests.support.eventually import eventually

OCCURRED_AT = "2026-01-02T03:04:05.678Z"
OUTCOMES_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `json` raises when the body is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def problem(self) -> tuple[int, str]:
        """Status and `id` of a problem."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self.text
        assert self.json["status"] == self.status, self.text
        return self.status, self.json["id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """An application of its own with a secret and event types."""

    organization_id: str
    application_id: str
    secret: str


class Api:
    """An async context manager around one HTTP session. `token` is sent unless a call names another."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token

    async def __aenter__(self) -> "Api":
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request: `body` is sent as JSON, `data` as it is. `headers` replace ours.

        An answer that the API's document does not describe fails the test.
        """
        own = {"Authorization": f"Bearer {token or self._token}", "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body is not None else data
        stream = io.BytesIO(content) if content is not None else None  # aiohttp warns of large bytes
        async with self._session.request(
            method, self.url + path, params=query, data=stream, headers=headers if headers is not None else own
        ) as response:
            reply = Reply(response.status, dict(response.headers), await response.read())
        deviation = find_deviation(method, path, reply.status, reply.headers, reply.body)
        assert deviation is None, deviation
        return reply

    async def make_space(self, *event_types: str) -> Space:
        """An organization, an application, a secret, and event types such as `billing.invoice.paid`."""
        organization = await self.call("POST", "/organizations", {"name": "Acme"})
        assert organization.status == 200, organization.text
        organization_id = organization.json["organization_id"]
        application = await self.call("POST", "/applications", {"organization_id": organization_id, "name": "Shop"})
        assert application.status == 201, application.text
        application_id = application.json["application_id"]
        secret = await self.call("POST", "/application_secrets", {"application_id": application_id, "name": "test"})
        assert secret.status == 201, secret.text
        for name in event_types:
            created = await self.call("POST", "/event_types", describe_type(application_id, name))
            assert created.status == 201, created.text
        return Space(organization_id=organization_id, application_id=application_id, secret=secret.json["token"])

    async def subscribe(self, space: Space, url: str, *event_types: str, **members: Any) -> dict[str, Any]:
        """A subscription; `members` replace those of its body."""
        reply = await self.call(
            "POST", "/subscriptions", describe_subscription(space.application_id, url, *event_types, **members)
        )
        assert reply.status == 201, reply.text
        subscription: dict[str, Any] = reply.json
        return subscription

    async def send(self, space: Space, event_type: str, **members: Any) -> str:
        """An event that is accepted; its id."""
        reply = await self.call(
            "POST", "/event", describe_event(space.application_id, event_type, **members), token=space.secret
        )
        assert reply.status == 201, reply.text
        event_id: str = reply.json["event_id"]
        return event_id

    async def list_attempts(self, space: Space, event_id: str) -> list[dict[str, Any]]:
        """The request attempts of one event."""
        path = f"/request_attempts?application_id={space.application_id}&event_id={event_id}"
        reply = await self.call("GET", path, token=space.secret)
        assert reply.status == 200, reply.text
        attempts: list[dict[str, Any]] = reply.json
        return attempts

    async def wait_for_outcomes(self, space: Space, event_id: str, *outcomes: str) -> list[dict[str, Any]]:
        """Wait until the attempts of one event, oldest first, have these outcomes; the attempts."""

        async def find() -> list[dict[str, Any]]:
            attempts = (await self.list_attempts(space, event_id))[::-1]
            assert list(outcomes) == [attempt["status"]["type"] for attempt in attempts]
            return attempts

        return await eventually(find, timeout_s=OUTCOMES_TIMEOUT_S)


def find_link(reply: Reply, relation: str) -> str | None:
    """The path that a page's `Link` leads to."""
    found = re.search(rf'<[^>]*/api/v1([^>]*)>; rel="{relation}"', reply.headers.get("Link", ""))
    return found.group(1) if found else None


def describe_type(application_id: str, name: str) -> dict[str, Any]:
    """The body that creates an event type."""
    service, resource_type, verb = name.split(".")
    return {"application_id": application_id, "service": service, "resource_type": resource_type, "verb": verb}


def describe_event(application_id: str, event_type: str, **members: Any) -> dict[str, Any]:
    """The body of an event; `members` replace those it has."""
    return {
        "application_id": application_id,
        "event_id": str(uuid4()),
        "event_type": event_type,
        "payload": '{"n":1}',
        "payload_content_type": "application/json",
        "occurred_at": OCCURRED_AT,
        "labels": {"all": "yes"},
        "metadata": {},
    } | members


def describe_subscription(application_id: str, url: str, *event_types: str, **members: Any) -> dict[str, Any]:
    """The body of a subscription; `members` replace those it has."""
    return {
        "application_id": application_id,
        "is_enabled": True,
        "event_types": list(event_types),
        "description": "test",
        "metadata": {},
        "labels": {"all": "yes"},
        "target": {"type": "http", "method": "POST", "url": url, "headers": {}},
        "dedicated_workers": None,
    } | members
