"""`/subscriptions`: which of an application's events go to which endpoint."""

import base64
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from dataclasses import replace as replace_fields
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypedDict
from uuid import UUID, uuid4

import msgspec
import orjson
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.headers import REDACTED
from pipeline.core.events.ids import read_uuid
from pipeline.core.events.moments import EPOCH, show_datetime, show_moment, show_moment_or_none, to_us
from pipeline.core.events.records import name_client_key_context
from pipeline.core.signing.asymmetric import format_public_key
from pipeline.core.signing.sealing import NONCE_BYTES, Sealed, Sealer
from pipeline.core.signing.signature import STANDARD_PREFIX, format_standard_secret
from pipeline.gateway.answers import Id, Time, answer_json, answer_list, answer_nothing
from pipeline.gateway.auth import Caller, authorize, read_own_form
from pipeline.gateway.bodies import Form, read_form
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.control.record_size import require_fits
from pipeline.gateway.control.subscription_form import SubscriptionForm, check_subscription, require_client_key
from pipeline.gateway.operations import Operation
from pipeline.gateway.preconditions import IF_MATCH, add_tag, read_wanted
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    CURSOR,
    LIMIT,
    add_oldest_first_links,
    take,
    take_application_id,
    take_path_id,
)
from pipeline.gateway.validation import Findings
from pipeline.pauses import Pauses
from pipeline.postgres.archive.endpoint_states import ShownState, find_state
from pipeline.postgres.archive.paging import Cursor
from pipeline.postgres.control.subscriptions import (
    ChangedMeanwhileError,
    SealedSecret,
    Subscription,
    SubscriptionContent,
    UnknownEventTypesError,
    UnknownRetryScheduleError,
    create_subscription,
    delete_subscription,
    find_subscription,
    list_in_pages,
    replace_subscription,
    rotate_secret,
)

REFUSALS = ("EventTypeDoesNotExist", "LabelsAmbiguity", "UnauthorizedWorkers")
TIME_DIGITS = 17  # microseconds since the epoch
OVERLAP_DEFAULT_S = 24 * 3600
OVERLAP_MAX_S = 30 * 24 * 3600


class RotationForm(Form, frozen=True):
    """The body of a rotation. `secret`: the new one as a UUID or in its `whsec_` form; none: a new random one."""

    application_id: UUID
    overlap_s: int = OVERLAP_DEFAULT_S
    secret: str | None = None


_decoder = msgspec.json.Decoder(SubscriptionForm)
_rotation_decoder = msgspec.json.Decoder(RotationForm)


class TargetShown(TypedDict):
    """Where deliveries go."""

    type: str
    method: str
    url: str
    headers: dict[str, str]


class SubscriptionShown(TypedDict):
    """A subscription with its secret in both forms."""

    application_id: Id
    subscription_id: Id
    is_enabled: bool
    event_types: list[str]
    description: str | None
    secret: Id
    standard_webhooks_secret: str | None
    public_key: str
    jwks_path: str
    metadata: dict[str, str]
    label_key: str
    label_value: str
    labels: dict[str, str]
    target: TargetShown
    created_at: Time
    updated_at: Time
    dedicated_workers: list[str]
    delivery: dict[str, Any]
    payload_filter: dict[str, Any] | None
    retry_schedule_id: Id | None
    disabled_reason: str | None


class HealthShown(TypedDict):
    """The health of an endpoint."""

    failing_since: Time | None
    parked_until: Time | None
    last_error: str | None


class SubscriptionInfo(SubscriptionShown):
    """A subscription by itself."""

    health: HealthShown


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET",
            "/subscriptions",
            show_all,
            query=(APPLICATION_ID, LIMIT, CURSOR),
            answer=list[SubscriptionShown],
        ),
        Operation(
            "POST",
            "/subscriptions",
            create,
            body=SubscriptionForm,
            status=201,
            answer=SubscriptionShown,
            problems=(*REFUSALS, "TooManySubscriptionsPerApplication"),
        ),
        Operation("GET", "/subscriptions/{subscription_id}", show_one, answer=SubscriptionInfo),
        Operation(
            "PUT",
            "/subscriptions/{subscription_id}",
            replace,
            body=SubscriptionForm,
            answer=SubscriptionShown,
            headers=(IF_MATCH,),
            problems=(*REFUSALS, "PreconditionFailed"),
        ),
        Operation("DELETE", "/subscriptions/{subscription_id}", delete, query=(APPLICATION_ID,), status=204),
        Operation(
            "POST",
            "/subscriptions/{subscription_id}/rotate_secret",
            rotate,
            body=RotationForm,
            answer=SubscriptionShown,
        ),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An application's subscriptions, oldest first. With `limit` a page of them; its `Link` leads on and back."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    limit, cursor = take(request, "limit"), take(request, "pagination_cursor")
    await caller.require_application(application_id)
    is_whole = await caller.may("subscriptions:write", application_id)
    places: list[Cursor] = []
    items: list[bytes] = []
    pauses = Pauses()
    async for page in list_in_pages(gateway.fresh_pool, application_id, after=cursor, limit=limit):
        for subscription in page:
            await pauses.take()
            shown = show_subscription(subscription, gateway.sealer)
            items.append(orjson.dumps(shown if is_whole else hide_secrets(shown)))
            places.append(_point_at(subscription))
    response = answer_list(items)
    if limit is not None:
        add_oldest_first_links(gateway, request, response, places, is_full=len(places) == limit)
    return response


async def create(request: web.Request) -> web.Response:
    """A new subscription with a new secret. The next event is matched with it."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    application_id, content = await _check(gateway, form, caller.require_application)
    require_client_key(form)
    gateway.publisher.require_log()
    now, subscription_id = gateway.clock.now(), str(uuid7())
    sealed = _seal(gateway.sealer, subscription_id, str(uuid4()))
    content = _add_client_key(gateway.sealer, subscription_id, form, content)
    require_fits(content, record_max_bytes=gateway.settings.kafka.record_max_bytes)
    subscription = Subscription(
        subscription_id=subscription_id,
        application_id=application_id,
        content=content,
        secrets=(SealedSecret(key_id=sealed.key_id, sealed=sealed.sealed),),
        created_at=now,
        updated_at=now,
    )
    most = gateway.settings.gateway.subscriptions_max
    try:
        is_created = await create_subscription(gateway.pool, subscription, subscriptions_max=most)
    except UnknownEventTypesError as error:
        raise _refuse_event_types(error) from None
    except UnknownRetryScheduleError:
        raise _refuse_retry_schedule() from None
    if is_created is None:
        raise Problem("Forbidden")
    if not is_created:
        raise Problem("TooManySubscriptionsPerApplication", detail=f"An application may have {most} subscriptions.")
    await gateway.publisher.publish(application_id)
    return answer_json(show_subscription(subscription, gateway.sealer), status=201)


async def show_one(request: web.Request) -> web.Response:
    """One subscription."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription = await find_own(request, caller)
    state = await find_state(gateway.fresh_pool, subscription.subscription_id)
    shown = show_subscription(subscription, gateway.sealer)
    if not await caller.may("subscriptions:write", subscription.application_id):
        shown = hide_secrets(shown)
    info: SubscriptionInfo = {**shown, "health": show_health(state)}
    return _tag(answer_json(info), subscription)


async def replace(request: web.Request) -> web.Response:
    """Replace all fields that its owner sets; the secret stays. Disabling cancels waiting deliveries."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription_id = take_path_id(request, "subscription_id")
    form = await read_form(request, _decoder)
    application_id, content = await _check(gateway, form, caller.require_application)
    gateway.publisher.require_log()
    content = _add_client_key(gateway.sealer, subscription_id, form, content)
    require_fits(content, record_max_bytes=gateway.settings.kafka.record_max_bytes)
    try:
        subscription = await replace_subscription(
            gateway.pool, application_id, subscription_id, content, updated_at=read_precondition(request)
        )
    except UnknownEventTypesError as error:
        raise _refuse_event_types(error) from None
    except UnknownRetryScheduleError:
        raise _refuse_retry_schedule() from None
    except ChangedMeanwhileError:
        raise Problem("PreconditionFailed") from None
    await gateway.publisher.publish(application_id)
    if subscription is None:
        raise Problem("NotFound")
    return _tag(answer_json(show_subscription(subscription, gateway.sealer)), subscription)


async def delete(request: web.Request) -> web.Response:
    """Delete a subscription; waiting deliveries are cancelled. Deleted again: the same answer."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription_id, application_id = take_path_id(request, "subscription_id"), take_application_id(request)
    await caller.require_application(application_id)
    gateway.publisher.require_log()
    is_deleted = await delete_subscription(gateway.pool, application_id, subscription_id)
    await gateway.publisher.publish(application_id)
    if is_deleted is None:
        raise Problem("NotFound")
    return answer_nothing()


async def rotate(request: web.Request) -> web.Response:
    """A new secret; until the overlap is over deliveries are signed with both."""
    gateway, subscription_id = request.app[GATEWAY], take_path_id(request, "subscription_id")
    _, form, application_id = await read_own_form(request, _rotation_decoder)
    findings = Findings()
    if not 0 <= form.overlap_s <= OVERLAP_MAX_S:
        findings.add("overlap_s", "range", f"it must be 0 to {OVERLAP_MAX_S} seconds", min=0, max=OVERLAP_MAX_S)
    secret = str(uuid4()) if form.secret is None else read_secret(form.secret)
    if secret is None:
        findings.add("secret", "secret", "it must be a UUID, or `whsec_` and the base64 of one's 36 characters")
    findings.raise_if_any()
    gateway.publisher.require_log()
    sealed = _seal(gateway.sealer, subscription_id, secret or "")
    subscription = await rotate_secret(
        gateway.pool,
        application_id,
        subscription_id,
        SealedSecret(key_id=sealed.key_id, sealed=sealed.sealed),
        previous_valid_until=gateway.clock.now() + timedelta(seconds=form.overlap_s),
    )
    await gateway.publisher.publish(application_id)
    if subscription is None:
        raise Problem("NotFound")
    return answer_json(show_subscription(subscription, gateway.sealer))


async def find_own(request: web.Request, caller: Caller) -> Subscription:
    """The subscription of the path. Raises `Problem` when there is none, or it is not the caller's."""
    subscription = await find_subscription(request.app[GATEWAY].fresh_pool, take_path_id(request, "subscription_id"))
    if subscription is None:
        raise Problem("NotFound")
    try:
        await caller.require_application(subscription.application_id)
    except Problem:
        # its id must not be found out by the difference
        raise Problem("NotFound") from None
    return subscription


def show_health(state: ShownState | None) -> HealthShown:
    """How the endpoint is doing, an addition of ours. `parked_until`: when the breaker lets a request through again."""
    if state is None or not state.failing_since_us:
        return {"failing_since": None, "parked_until": None, "last_error": None}
    parked_until_us = state.opened_until_us or None
    return {
        "failing_since": show_moment(state.failing_since_us),
        "parked_until": show_moment_or_none(parked_until_us),
        "last_error": state.last_error,
    }


def read_precondition(request: web.Request) -> datetime | None:
    """Read the time of the last change from `If-Match`; None: any version is replaced. Raises `Problem`."""
    wanted = read_wanted(request)
    if wanted is None:
        return None
    # of several only the newest can be the present state
    times_us = sorted((int(tag) for tag in wanted if tag.isdigit() and len(tag) <= TIME_DIGITS), reverse=True)
    if not times_us:
        raise Problem("PreconditionFailed", detail="`If-Match` is no `ETag` of a subscription.")
    return EPOCH + timedelta(microseconds=times_us[0])


def _point_at(subscription: Subscription) -> Cursor:
    return Cursor(created_at_us=to_us(subscription.created_at), attempt_id=subscription.subscription_id)


def _tag(response: web.Response, subscription: Subscription) -> web.Response:
    return add_tag(response, str(to_us(subscription.updated_at)))


def read_secret(text: str) -> str | None:
    """A subscription's secret as a canonical UUID, from either of its forms; None when it is neither."""
    try:
        if text.startswith(STANDARD_PREFIX):
            text = base64.b64decode(text.removeprefix(STANDARD_PREFIX), validate=True).decode("ascii")
        return read_uuid(text)
    except ValueError:
        return None


def show_subscription(subscription: Subscription, sealer: Sealer) -> SubscriptionShown:
    """A subscription as the API shows it, its secret in both forms."""
    content = subscription.content
    current = subscription.secrets[0]
    secret = unseal_secret(subscription, current, sealer).decode()
    label_key, label_value = next(iter(content.labels.items()), ("", ""))
    return {
        "application_id": subscription.application_id,
        "subscription_id": subscription.subscription_id,
        "is_enabled": content.is_enabled,
        "event_types": list(content.event_types),
        "description": content.description,
        "secret": secret,
        "standard_webhooks_secret": format_standard_secret(secret),
        "public_key": format_public_key(secret.encode()),
        "jwks_path": locate_keys(subscription, secret),
        "metadata": content.metadata,
        "label_key": label_key,
        "label_value": label_value,
        "labels": content.labels,
        "target": {"type": "http", "method": content.method, "url": content.url, "headers": content.headers},
        "created_at": show_datetime(subscription.created_at),
        "updated_at": show_datetime(subscription.updated_at),
        "dedicated_workers": [],
        "delivery": asdict(content.delivery) | {"has_tls_client_key": content.client_key is not None},
        "payload_filter": msgspec.json.decode(content.payload_filter) if content.payload_filter is not None else None,
        "retry_schedule_id": content.retry_schedule_id,
        "disabled_reason": subscription.disabled_reason,
    }


def unseal_secret(subscription: Subscription, secret: SealedSecret, sealer: Sealer) -> bytes:
    """One of a subscription's secrets. Raises `UnsealError`."""
    return sealer.unseal(Sealed(key_id=secret.key_id, sealed=secret.sealed), context=subscription.subscription_id)


def locate_keys(subscription: Subscription, secret: str) -> str:
    """The path of the public keys. What follows `key` cannot be guessed, so that no id can be found out by it."""
    return f"/subscriptions/{subscription.subscription_id}/jwks.json?key={derive_address_key(secret)}"


def derive_address_key(secret: str) -> str:
    """The secret part of the address of the public keys."""
    return sha256(f"jwks/{secret}".encode()).hexdigest()[:32]


def hide_secrets(shown: SubscriptionShown) -> SubscriptionShown:
    """Hide secrets from a viewer: with the secret deliveries could be forged, and headers may open the endpoint."""
    headers = dict.fromkeys(shown["target"]["headers"], REDACTED)
    target: TargetShown = {**shown["target"], "headers": headers}
    return {**shown, "secret": str(UUID(int=0)), "standard_webhooks_secret": None, "target": target}


def _seal(sealer: Sealer, context: str, secret: str) -> Sealed:
    return sealer.seal(secret.encode(), context=context, nonce=os.urandom(NONCE_BYTES))


def _add_client_key(
    sealer: Sealer, subscription_id: str, form: SubscriptionForm, content: SubscriptionContent
) -> SubscriptionContent:
    key_pem = form.delivery.tls_client_key_pem if form.delivery is not None else None
    if key_pem is None:
        return content
    sealed = _seal(sealer, name_client_key_context(subscription_id), key_pem)
    return replace_fields(content, client_key=SealedSecret(key_id=sealed.key_id, sealed=sealed.sealed))


async def _check(
    gateway: Gateway, form: SubscriptionForm, require_application: Callable[[str], Awaitable[None]]
) -> tuple[str, SubscriptionContent]:
    labels = form.read_labels()  # before rights are looked at, as clients know it
    application_id = str(form.application_id)
    await require_application(application_id)
    header = gateway.settings.deliver.signature_header
    return application_id, check_subscription(form, labels, signature_header=header)


def _refuse_retry_schedule() -> Problem:
    findings = Findings()
    findings.add("retry_schedule_id", "retry-schedule", "the application has no such retry schedule")
    return findings.to_problem()


def _refuse_event_types(error: UnknownEventTypesError) -> Problem:
    names = ", ".join(error.names)
    return Problem("EventTypeDoesNotExist", detail=f"The application does not have: {names}. Create them first.")
