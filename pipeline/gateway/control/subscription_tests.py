"""`POST /subscriptions/{subscription_id}/test`: an event for one subscription, delivered and recorded as any other."""

from typing import TypedDict
from uuid import UUID

import msgspec
import orjson
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.events.ids import derive_attempt_id
from pipeline.core.events.operational import describe_test
from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.subscriptions import find_own
from pipeline.gateway.ingest import accept_operational, decode_payload
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.waiting import wait_for_archive
from pipeline.gateway.replaying import carry_out, plan_replay
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.audit_log import SendingAgain, note_request
from pipeline.postgres.control.replays import find_replayed_event


class TestForm(Form, frozen=True):
    """The body. `payload`: JSON as a text; left out: one of ours."""

    application_id: UUID
    payload: str | None = None


class TestShown(TypedDict):
    """The event, and its delivery's first attempt."""

    event_id: Id
    delivery_id: Id
    request_attempt_id: Id


_decoder = msgspec.json.Decoder(TestForm)


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/subscriptions/{subscription_id}/test",
            test,
            body=TestForm,
            status=201,
            answer=TestShown,
            problems=("EventInvalidJsonPayload",),
        ),
    ]


async def test(request: web.Request) -> web.Response:
    """Send an event of the type `hookline.test` to this subscription, also a disabled one."""
    gateway = request.app[GATEWAY]
    caller, form, application_id = await read_own_form(request, _decoder)
    subscription = await find_own(request, caller)
    if subscription.application_id != application_id:
        raise Problem("NotFound")
    subscription_id, now_us = subscription.subscription_id, gateway.clock.now_us()
    payload = orjson.dumps({"test": True, "subscription_id": subscription_id})
    if form.payload is not None:
        findings = Findings()
        findings.check_length("payload", form.payload, least=0, most=gateway.settings.gateway.payload_max_chars)
        findings.raise_if_any()
        payload = decode_payload(form.payload, JSON_TYPE)
    event_id = str(uuid7())
    noted = SendingAgain(
        application_id=application_id,
        resource="subscription",
        resource_id=subscription_id,
        action="tested",
        details={"event_id": event_id},
    )
    await note_request(gateway.pool, noted)
    await accept_operational(gateway, describe_test(application_id, subscription_id, event_id, payload, now_us=now_us))
    await wait_for_archive(gateway, application_id, event_id=event_id, dispatched=True)
    event = await find_replayed_event(gateway.pool, application_id, event_id)
    if event is None:
        raise Problem("ServiceUnavailable", detail="The archive does not have the event yet: it is not delivered.")
    routes = gateway.routes.current(application_id)
    version = routes.version if routes is not None else 0
    plan = plan_replay(
        application_id, event, [subscription_id], [], routes_version=version, now_us=now_us, is_forced=True
    )
    await carry_out(gateway, application_id, event, plan, routes_version=version)
    delivery_id = plan.deliveries[0].delivery_id
    answer: TestShown = {
        "event_id": event_id,
        "delivery_id": delivery_id,
        "request_attempt_id": derive_attempt_id(delivery_id, 1),
    }
    return answer_json(answer, status=201)
