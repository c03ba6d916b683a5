"""Every route, asked by every kind of token of one organization for what is another's: it looks as if it did not exist.

A request carries the other's ids wherever one can stand: in the path, the query and the body, whose members are those
of all operations together, since unknown ones are ignored. The same request with unknown ids must be answered
alike, and the other's audit log says that nothing of it was changed.
"""

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest

from pipeline.gateway.server import list_operations
from tests.support.api import Api, Space, describe_event, describe_subscription, describe_type
from tests.support.people import PASSWORD, Person, make_person
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
PARAMETER = re.compile(r"{(\w+)}")
# These take no id, and end what the test asks with.
OWN = ("/auth/", "/register")


class Tenant:
    """An organization with an application, people and tokens. `ids`: what stands for a parameter or member."""

    def __init__(self, space: Space, editor: Person, ids: dict[str, str]) -> None:
        self.space = space
        self.editor = editor
        self.ids = ids


async def make_tenant(api: Api) -> Tenant:
    space, editor = await api.make_space(TYPE), await make_person(api)
    invite = {"email": editor.email, "role": "editor"}
    invited = await api.call("POST", f"/organizations/{space.organization_id}/invite", invite)
    assert invited.status == 200, invited.text
    subscription = await api.subscribe(space, "http://example.com/", TYPE, is_enabled=False)
    token = await api.call("POST", "/service_token", {"organization_id": space.organization_id, "name": "ci"})
    schedule = {"application_id": space.application_id, "name": "quick", "retry_delays_s": [1]}
    schedule = (await api.call("POST", "/retry_schedules", schedule)).json
    ids = {
        "organization_id": space.organization_id,
        "application_id": space.application_id,
        "subscription_id": subscription["subscription_id"],
        "event_id": await api.send(space, TYPE),
        "token": space.secret,
        "token_id": token.json["token_id"],
        "retry_schedule_id": schedule["retry_schedule_id"],
        "user_id": editor.user_id,
    }
    return Tenant(space, editor, ids)


async def make_tokens(api: Api, tenant: Tenant) -> dict[str, str]:
    """One of every kind, by what it is."""
    organization_id, viewer = tenant.space.organization_id, await make_person(api)
    await api.call("POST", f"/organizations/{organization_id}/invite", {"email": viewer.email, "role": "viewer"})
    made: dict[str, str] = {}
    for name, limits in (
        ("service token", {}),
        ("token with scopes", {"scopes": ["events:read", "events:ingest", "subscriptions:write", "applications:read"]}),
        ("token of an application", {"application_ids": [tenant.space.application_id]}),
    ):
        reply = await api.call("POST", "/service_token", {"organization_id": organization_id, "name": name} | limits)
        made[name] = reply.json["biscuit"]
    return made | {
        "application secret": tenant.space.secret,
        "editor": tenant.editor.access,
        "viewer": viewer.access,
        "member of nothing": (await make_person(api)).access,
    }


def list_requests(ids: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Method, path with query, and body of every route, with these ids wherever one can stand."""
    application_id = ids["application_id"]
    body = (
        describe_event(application_id, TYPE)
        | describe_type(application_id, "a.b.c")
        | describe_subscription(application_id, "http://example.com/", TYPE)
        | ids
        | {
            "name": "Mine",
            "email": "unknown@example.org",
            "role": "editor",
            "password": PASSWORD,
            "dead_ids": [str(uuid4())],
            "events": [describe_event(application_id, TYPE)],
            "secret": None,
        }
    )
    query = f"application_id={application_id}&organization_id={ids['organization_id']}"
    requests = []
    for route in list_operations():
        if route.path.startswith(OWN):
            continue
        path = PARAMETER.sub(lambda match: ids.get(match[1], str(uuid4())), route.path)
        requests.append((route.method, f"{path}?{query}", body if route.method in ("POST", "PUT", "DELETE") else None))
    return requests


async def ask(api: Api, request: tuple[str, str, Any], token: str) -> tuple[int, str, str]:
    """Status, problem, and the whole text."""
    method, path, body = request
    reply = await api.call(method, path, body, token=token)
    is_problem = reply.headers.get("Content-Type", "").startswith("application/problem+json")
    return reply.status, reply.problem[1] if is_problem else "", reply.text


async def test_what_is_another_s_does_not_exist(stack: Stack) -> None:
    """No route shows or changes anything of the other with any token."""
    own, other = await make_tenant(stack.api), await make_tenant(stack.api)
    unknown = {name: str(uuid4()) for name in other.ids}
    log = f"/audit_log?organization_id={other.space.organization_id}"
    before = (await stack.api.call("GET", log)).json
    events = f"/events?application_id={other.space.application_id}"
    known = (await stack.api.call("GET", events)).json
    theirs, missing = list_requests(other.ids), list_requests(unknown)
    told = []
    for kind, token in (await make_tokens(stack.api, own)).items():
        answers = await asyncio.gather(*(ask(stack.api, request, token) for request in theirs))
        expected = await asyncio.gather(*(ask(stack.apis[1], request, token) for request in missing))
        for request, answer, alike in zip(theirs, answers, expected, strict=True):
            shown = [name for name, value in other.ids.items() if value in answer[2]]
            if answer[:2] != alike[:2] or answer[0] >= 500 or shown or other.editor.email in answer[2]:
                told.append((kind, request[:2], answer, alike[:2], shown))

    assert [] == told
    assert before == (await stack.api.call("GET", log)).json
    assert known == (await stack.api.call("GET", events)).json
    assert len(theirs) > 40
