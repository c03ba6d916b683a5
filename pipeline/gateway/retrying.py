"""`POST /request_attempts/{request_attempt_id}/retry`: a delivery again, because a person asked.

One more attempt of the same delivery, under the same `webhook-id`, signed with today's secret; also while its
subscription is disabled, which an owner wants before enabling it again. What follows a failed one is not asked for.
"""

from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import take_path_id
from pipeline.gateway.replaying import carry_out, plan_replay
from pipeline.postgres.archive.attempts import find_attempt
from pipeline.postgres.control.audit_log import SendingAgain, note_request
from pipeline.postgres.control.replays import find_replayed_event, list_deliveries
from pipeline.postgres.control.subscriptions import find_subscription


class RetryForm(Form, frozen=True):
    """The body."""

    application_id: UUID


class RetryShown(TypedDict):
    """The attempt that was asked for. It is listed from now on."""

    request_attempt_id: Id
    delivery_id: Id
    event_id: Id
    subscription_id: Id


_decoder = msgspec.json.Decoder(RetryForm)


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/request_attempts/{request_attempt_id}/retry",
            retry,
            body=RetryForm,
            status=201,
            answer=RetryShown,
        ),
    ]


async def retry(request: web.Request) -> web.Response:
    """Send the delivery of an attempt again, also to a disabled subscription; answered when the log has it."""
    gateway, attempt_id = request.app[GATEWAY], take_path_id(request, "request_attempt_id")
    _, _, application_id = await read_own_form(request, _decoder)
    attempt = await find_attempt(gateway.pool, application_id, attempt_id, now_us=gateway.clock.now_us())
    event = await find_replayed_event(gateway.pool, application_id, attempt.event_id) if attempt is not None else None
    if attempt is None or event is None:
        raise Problem("NotFound")
    subscription = await find_subscription(gateway.fresh_pool, attempt.subscription_id)
    if subscription is None or subscription.application_id != application_id:
        raise Problem("NotFound", detail="The attempt's subscription was deleted.")
    routes = gateway.routes.current(application_id)
    version = routes.version if routes is not None else 0
    known = await list_deliveries(gateway.pool, application_id, event.event_id)
    if attempt.delivery_id not in {delivery.delivery_id for delivery in known}:
        raise Problem("NotFound", detail="The attempt's delivery is not kept any more.")
    plan = plan_replay(
        application_id,
        event,
        [attempt.subscription_id],
        known,
        routes_version=version,
        now_us=gateway.clock.now_us(),
        is_forced=True,
    )
    noted = SendingAgain(
        application_id=application_id,
        resource="request_attempt",
        resource_id=attempt_id,
        action="retried",
        details={"event_id": event.event_id, "subscription_id": attempt.subscription_id},
    )
    await note_request(gateway.pool, noted)
    await carry_out(gateway, application_id, event, plan, routes_version=version)
    (asked,) = plan.asked
    gateway.log.info("attempt_retried", application_id=application_id, delivery_id=asked.delivery_id)
    answer: RetryShown = {
        "request_attempt_id": asked.attempt_id,
        "delivery_id": asked.delivery_id,
        "event_id": event.event_id,
        "subscription_id": asked.subscription_id,
    }
    return answer_json(answer, status=201)
