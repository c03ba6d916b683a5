"""`POST /subscriptions/test_filter`: would a payload filter accept this?"""

from typing import Any, TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.routing.payload_filter import Content, Every, Not, PayloadFilter, Some, count_conditions
from pipeline.gateway.answers import answer_json
from pipeline.gateway.auth import read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.subscription_form import check_filter
from pipeline.gateway.ingest import decode_payload
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.events import find_accepted
from pipeline.gateway.validation import Findings
from pipeline.pauses import Pauses


class FilterTestForm(Form, frozen=True):
    """The body: a filter, and a payload (JSON as a text) or the id of an event."""

    application_id: UUID
    payload_filter: dict[str, Any]
    payload: str | None = None
    event_id: UUID | None = None


class FilterTestShown(TypedDict):
    """Is the payload accepted; and how many conditions of the 32 there may be the filter has."""

    accepts: bool
    conditions: int


_decoder = msgspec.json.Decoder(FilterTestForm)


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/subscriptions/test_filter",
            test_filter,
            body=FilterTestForm,
            answer=FilterTestShown,
            problems=("EventInvalidJsonPayload", "NotFound"),
        ),
    ]


async def test_filter(request: web.Request) -> web.Response:
    """Try a payload filter on a payload, or on an event that was accepted. Nothing is changed."""
    gateway = request.app[GATEWAY]
    _, form, application_id = await read_own_form(request, _decoder)
    findings = Findings()
    wanted = check_filter(findings, form.payload_filter)
    if (form.payload is None) == (form.event_id is None):
        findings.add("payload", "payload", "there must be either a `payload` or an `event_id`")
    findings.raise_if_any()
    assert wanted is not None  # noqa: S101 - else there was a finding
    if form.payload is not None:
        content = Content(decode_payload(form.payload, JSON_TYPE), JSON_TYPE)
    else:
        found = await find_accepted(gateway, application_id, str(form.event_id))
        if found is None:
            raise Problem("NotFound")
        content = Content(found.payload, found.event.payload_content_type)
    answer: FilterTestShown = {
        "accepts": content.is_json and await do_accept(wanted, content, Pauses()),
        "conditions": count_conditions(form.payload_filter),
    }
    return answer_json(answer)


async def do_accept(wanted: PayloadFilter, content: Content, pauses: Pauses) -> bool:
    """Does the filter accept JSON? Others have turns between its conditions, of which each may take 20 ms."""
    match wanted:
        case Every():
            for inner in wanted.filters:
                if not await do_accept(inner, content, pauses):
                    return False
            return True
        case Some():
            for inner in wanted.filters:
                if await do_accept(inner, content, pauses):
                    return True
            return False
        case Not():
            return not await do_accept(wanted.inner, content, pauses)
    await pauses.take()
    return content.is_accepted_by(wanted)
