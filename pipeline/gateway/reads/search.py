"""`GET /search`: the objects with an id that was found in a log, a header or a mail."""

from typing import Literal, TypedDict

from aiohttp import web

from pipeline.core.events.ids import read_uuid
from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.reads.queries import APPLICATION_ID, take, take_application_id
from pipeline.postgres.archive.attempts import find_attempt
from pipeline.postgres.archive.dead_letters import LetterFilter, list_letters
from pipeline.postgres.archive.deliveries import find_delivery
from pipeline.postgres.archive.reads import find_event
from pipeline.postgres.control.subscriptions import find_subscription

Q = Parameter(
    name="q", schema={"type": "string"}, is_required=True, meaning="An id: a `webhook-id` is that of a delivery."
)


class Found(TypedDict):
    """An object that has this id. `path`: where the API shows it."""

    type: Literal["event", "delivery", "request_attempt", "subscription", "dead_letter"]
    id: Id
    path: str


def list_routes() -> list[Operation]:
    return [Operation("GET", "/search", show_found, query=(APPLICATION_ID, Q), answer=list[Found])]


async def show_found(request: web.Request) -> web.Response:
    """Show what the application has under the id `q`; an empty list when it is no id."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id, text = take_application_id(request), take(request, "q")
    await caller.require_application(application_id)
    try:
        wanted = read_uuid(text.strip())
    except ValueError:
        return answer_json([])
    return answer_json(await find(gateway, application_id, wanted))


async def find(gateway: Gateway, application_id: str, wanted: str) -> list[Found]:
    """Each kind has an index for it."""
    pool, query, now_us = gateway.fresh_pool, f"?application_id={application_id}", gateway.clock.now_us()
    found: list[Found] = []
    if await find_event(pool, application_id, wanted) is not None:
        found.append({"type": "event", "id": wanted, "path": f"/events/{wanted}{query}"})
    if await find_delivery(pool, application_id, wanted, now_us=now_us) is not None:
        found.append({"type": "delivery", "id": wanted, "path": f"/deliveries/{wanted}{query}"})
    if await find_attempt(pool, application_id, wanted, now_us=now_us) is not None:
        found.append({"type": "request_attempt", "id": wanted, "path": f"/request_attempts/{wanted}{query}"})
    subscription = await find_subscription(pool, wanted)
    if subscription is not None and subscription.application_id == application_id:
        found.append({"type": "subscription", "id": wanted, "path": f"/subscriptions/{wanted}"})
    letters = LetterFilter(application_id=application_id, dead_ids=(wanted,), with_redriven=True)
    if await list_letters(pool, letters, limit=1):
        found.append({"type": "dead_letter", "id": wanted, "path": f"/dead_letters/{wanted}{query}"})
    return found
