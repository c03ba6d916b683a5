"""Ids of another organization are as ids that do not exist, in every request by every kind of caller.

Requests are drawn from the API's document, to every operation that it has: in each place for an id stands one's own or
the other's, of the right kind or of another. The same request with invented ids must have the same answer (status,
body but for the ids, headers), nothing of the other may be shown, and nothing of it may change.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.gateway.openapi import describe_api
from pipeline.gateway.server import API_PATH, list_operations
from tests.integration.gateway.tenants import (
    Requests,
    Tenant,
    invent,
    make_callers,
    make_tenant,
    summarise,
    take_stock,
)
from tests.support.people import Person, make_person
from tests.support.receiver import Receiver
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

EXAMPLES = 60
EXAMPLES_OF_SESSIONS = 3  # logins are limited, for other tests as well
DOCUMENT = describe_api(list_operations(), base_path=API_PATH)
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
CALLERS = (
    "application secret",
    "editor",
    "viewer",
    "service token",
    "token with scopes",
    "token of an application",
    "token of another application",
    "expired token",
    "revoked token of the other",
    "removed from the other",
    "member of nothing",
    "refresh token",
)
# These may not read the events of their own organization's first application.
POWERLESS = frozenset(CALLERS[6:])
POWERFUL = CALLERS[:6]


class World:
    """`own` asks, `other` is asked about. `callers`: tokens by kind; `before`: all that is shown of the other.

    `written`: values of the other that a caller wrote, by the first part of the path. No data class: Hypothesis would
    print all of it beside what failed.
    """

    def __init__(
        self, own: Tenant, other: Tenant, callers: dict[str, str], before: dict[str, Any], receiver: Receiver
    ) -> None:
        self.own, self.other = own, other
        self.callers = callers
        self.before = before
        self.receiver = receiver
        self.asked: Counter[str] = Counter()
        self.written: defaultdict[str, set[str]] = defaultdict(set)
        self._sessions: dict[str, Person] = {}

    async def find_session(self, stack: Stack, path: str) -> str:
        """A token of a user of its own, for an operation that may end the session."""
        if path not in self._sessions:
            self._sessions[path] = await make_person(stack.api)
        return self._sessions[path].access


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    def make_folder() -> Path:
        return tmp_path_factory.mktemp("certificates")

    async with Receiver() as receiver:
        own = await make_tenant(stack, receiver, "ours", make_folder())
        other = await make_tenant(stack, receiver, "theirs", make_folder())
        callers = await make_callers(stack, own, other)
        before = await take_stock(stack, other)
        yield World(own, other, callers, before, receiver)


@pytest_asyncio.fixture(loop_scope="package")
async def unchanged(stack: Stack, world: World) -> AsyncIterator[None]:
    """All that is shown of the other is as it was before all tests."""
    yield
    assert world.before == await take_stock(stack, world.other)


async def test_the_document_that_is_served_is_walked(stack: Stack, world: World) -> None:
    """A new operation is asked, and a caller of each kind asks."""
    served = await stack.api.call("GET", "/swagger.json", headers={})

    assert DOCUMENT["paths"] == served.json["paths"]
    assert set(CALLERS) == world.callers.keys()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
async def test_what_is_another_s_is_as_what_does_not_exist(
    stack: Stack, world: World, path: str, method: str, data: st.DataObject
) -> None:
    """Requests to this operation, by any caller, with any ids."""
    requests = Requests(DOCUMENT, path, method, own=world.own, other=world.other)
    caller = data.draw(st.sampled_from(CALLERS) | st.sampled_from(POWERFUL), label="caller")
    request = requests.draw(data.draw)
    api = stack.apis[data.draw(st.sampled_from((0, 1)), label="gateway")]
    token = world.callers[caller]
    if path.startswith("/auth/"):
        world.asked[path] += 1
        if world.asked[path] > EXAMPLES_OF_SESSIONS:
            return
        if "security" not in DOCUMENT["paths"][path][method]:
            token = await world.find_session(stack, path)
    elif not request.theirs and method != "get":
        return  # about one's own only
    reply = await request.send(api, token)
    shown = f"{reply.headers}{reply.text}"
    # a token of one's own can be limited to applications of others, and is shown so
    sent = world.written[path.split("/")[1]]
    sent.update(request.theirs)

    assert reply.status < 500
    assert [] == [mark for mark in world.other.marks if mark in shown]
    assert [] == [value for value in world.other.known.values() if value in shown and value not in sent]
    if not request.theirs:
        return
    invented = invent((*request.theirs, *request.new))
    missing = await request.translate(invented).send(api, token)

    assert summarise(missing, {}) == summarise(reply, invented), f"{caller}: {request}"


async def test_the_callers_are_what_they_are_called(stack: Stack, world: World) -> None:
    """Callers get their own answered as before all of these requests, and nothing was sent to the other's endpoint."""
    query = {"application_id": world.own.space.application_id}
    asked = {}
    for caller, token in world.callers.items():
        reply = await stack.api.call("GET", f"/events/{world.own.known['event_id']}", token=token, query=query)
        asked[caller] = reply.status

    assert 1 == len(world.receiver.requests("/theirs"))
    assert {caller: 403 if caller in POWERLESS else 200 for caller in CALLERS} == asked
