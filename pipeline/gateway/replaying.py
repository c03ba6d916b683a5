"""`POST /events/{event_id}/replay`: an event again, to the subscriptions that select it today, because a person asked.

A subscription that had the event before gets one more attempt of the same delivery, so that its receiver sees the same
`webhook-id`; one that had not gets a delivery. The request is built from the archived event and signed with today's
secrets. The attempts are noted first, so that they are listed from the moment this is answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.ids import derive_attempt_id, derive_delivery_id
from pipeline.core.events.records import Delivery, Dispatch, to_bytes
from pipeline.core.log.checksum import sum_content
from pipeline.core.retries.replay import number_replay
from pipeline.core.routing.payload_filter import Content, SelectionCostError
from pipeline.core.routing.routes import AppliedRoutes
from pipeline.gateway.answers import answer_nothing
from pipeline.gateway.auth import read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import take_path_id
from pipeline.gateway.reads.waiting import wait_for_archive
from pipeline.gateway.validation import Findings
from pipeline.kafka.failures import Plain, ToSend, trace
from pipeline.kafka.producer import KafkaUnavailableError
from pipeline.postgres.control.audit_log import SendingAgain, note_request
from pipeline.postgres.control.replays import (
    Asked,
    KnownDelivery,
    ReplayedEvent,
    find_replayed_event,
    list_deliveries,
    note_asked,
    withdraw_asked,
)
from pipeline.topics import Topics

# Each delivery has the payload in it: ten thousand of them would fill the memory, and the buffer of the events of all.
PORTION_MAX_BYTES = 2 * 1024 * 1024
PORTION_MAX_RECORDS = 2000


class ReplayForm(Form, frozen=True):
    """The body. `subscription_id`: the only subscription to send the event to; None: all that select it."""

    application_id: UUID
    subscription_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The work of a replay: one more attempt for known deliveries, and deliveries that did not exist."""

    asked: list[Asked]
    deliveries: list[Delivery]
    matches: list[dict[str, str]]  # of the new deliveries


_decoder = msgspec.json.Decoder(ReplayForm)


def list_routes() -> list[Operation]:
    return [
        Operation("POST", "/events/{event_id}/replay", replay, body=ReplayForm, status=204),
    ]


async def replay(request: web.Request) -> web.Response:
    """Send an event again; answered when the log has its deliveries."""
    gateway, event_id = request.app[GATEWAY], take_path_id(request, "event_id")
    _, form, application_id = await read_own_form(request, _decoder)
    await wait_for_archive(gateway, application_id, event_id=event_id, dispatched=True)
    event = await find_replayed_event(gateway.pool, application_id, event_id)
    if event is None:
        raise Problem("NotFound")
    routes = gateway.routes.current(application_id)
    selected = _select(routes, event) if routes is not None else []
    if form.subscription_id is not None:
        if str(form.subscription_id) not in selected:
            raise Problem("NotFound", detail="No enabled subscription with this id selects the event.")
        selected = [str(form.subscription_id)]
    known = await list_deliveries(gateway.pool, application_id, event_id)
    version = routes.version if routes is not None else 0
    plan = plan_replay(application_id, event, selected, known, routes_version=version, now_us=gateway.clock.now_us())
    only = str(form.subscription_id) if form.subscription_id is not None else None
    noted = SendingAgain(
        application_id=application_id,
        resource="event",
        resource_id=event_id,
        action="replayed",
        details={"subscription_id": only, "deliveries": len(selected)},
    )
    await note_request(gateway.pool, noted)
    await carry_out(gateway, application_id, event, plan, routes_version=version)
    gateway.log.info("event_replayed", application_id=application_id, event_id=event_id, deliveries=len(selected))
    return answer_nothing()


def _select(routes: AppliedRoutes, event: ReplayedEvent) -> list[str]:
    """The subscriptions that select the event today. Raises `Problem`."""
    try:
        return routes.match(event.event_type, event.labels, Content(event.payload, event.payload_content_type))
    except SelectionCostError:
        findings = Findings()
        findings.add(
            "event_id",
            "selection",
            "patterns and payload filters of the application's subscriptions take too long with it",
        )
        raise findings.to_problem() from None


async def carry_out(
    gateway: Gateway, application_id: str, event: ReplayedEvent, plan: Plan, *, routes_version: int
) -> None:
    """Note the requested attempts, and write them. Raises `Problem`: then none was noted."""
    noted = await note_asked(gateway.pool, application_id, event, plan.asked)
    try:
        await _write(gateway, application_id, event, plan, noted, routes_version)
    except KafkaUnavailableError as error:
        await withdraw_asked(gateway.pool, application_id, [one.attempt_id for one in noted])
        raise Problem("ServiceUnavailable", detail="Kafka does not answer; not all of it was sent again.") from error


def plan_replay(
    application_id: str,
    event: ReplayedEvent,
    selected: list[str],
    known: list[KnownDelivery],
    *,
    routes_version: int,
    now_us: int,
    is_forced: bool = False,
) -> Plan:
    """The records of a replay to the `selected` subscriptions; `is_forced`: also to disabled ones. Pure."""
    plan = Plan(asked=[], deliveries=[], matches=[])
    by_subscription = {delivery.subscription_id: delivery for delivery in known}
    content_crc32 = sum_content(event.event_id, event.event_type, event.payload_content_type, event.payload)
    for subscription_id in selected:
        before = by_subscription.get(subscription_id)
        number = number_replay(before.made) if before is not None else 1
        delivery = Delivery(
            delivery_id=before.delivery_id
            if before is not None
            else derive_delivery_id(event.event_id, subscription_id, application_id),
            subscription_id=subscription_id,
            application_id=application_id,
            event_id=event.event_id,
            event_type=event.event_type,
            payload=event.payload,
            payload_content_type=event.payload_content_type,
            appended_at_us=event.appended_at_us,
            received_at_us=event.received_at_us,
            matched_at_us=now_us,
            attempt_number=number,
            schedule_from=number,
            content_crc32=content_crc32,
            asked_at_us=now_us,
            routes_version=routes_version,
            is_forced=is_forced,
        )
        plan.deliveries.append(delivery)
        if before is None:
            plan.matches.append({"subscription_id": subscription_id, "delivery_id": delivery.delivery_id})
        else:
            plan.asked.append(
                Asked(
                    delivery_id=delivery.delivery_id,
                    subscription_id=subscription_id,
                    attempt_number=number,
                    attempt_id=derive_attempt_id(delivery.delivery_id, number),
                    asked_at_us=now_us,
                )
            )
    return plan


async def _write(
    gateway: Gateway, application_id: str, event: ReplayedEvent, plan: Plan, noted: list[Asked], routes_version: int
) -> None:
    """Write in portions, one after the other. Raises `KafkaUnavailableError`."""
    added = {match["delivery_id"] for match in plan.matches} | {one.delivery_id for one in noted}
    headers = None if gateway.tracing is None else gateway.tracing.headers()
    portion: list[ToSend] = []
    size_bytes = 0
    for record in _list_records(gateway.topics, application_id, event, plan, added, routes_version):
        portion.append(trace(record, headers))
        size_bytes += len(record[2] or b"")
        if size_bytes >= PORTION_MAX_BYTES or len(portion) >= PORTION_MAX_RECORDS:
            await gateway.producer.send_bytes(portion)
            portion, size_bytes = [], 0
    if portion:
        await gateway.producer.send_bytes(portion)


def _list_records(
    topics: Topics, application_id: str, event: ReplayedEvent, plan: Plan, added: set[str], routes_version: int
) -> Iterator[Plain]:
    """The deliveries in `added`, then what the event matches since. Encoded when they are asked for."""
    for delivery in plan.deliveries:
        if delivery.delivery_id in added:
            yield topics.deliveries, delivery.subscription_id.encode(), to_bytes(delivery)
    if plan.matches:
        dispatch = Dispatch(
            application_id=application_id,
            event_id=event.event_id,
            event_type=event.event_type,
            event_partition=event.event_partition,
            event_offset=event.event_offset,
            appended_at_us=event.appended_at_us,
            received_at_us=event.received_at_us,
            matched_at_us=plan.deliveries[0].matched_at_us,
            routes_version=routes_version,
            matches=plan.matches,
            content_crc32=plan.deliveries[0].content_crc32,
        )
        yield topics.dispatches, application_id.encode(), to_bytes(dispatch)
