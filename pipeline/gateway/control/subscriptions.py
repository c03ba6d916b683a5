"""`/subscriptions`: which of an application's events go to which endpoint."""

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.sealing import NONCE_BYTES, Sealed, Sealer
from pipeline.core.signature import format_standard_secret
from pipeline.gateway.answers import answer_json, answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.control.subscription_form import SubscriptionForm, check_subscription
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.moments import show_datetime
from pipeline.gateway.reads.queries import take_application_id, take_path_id
from pipeline.postgres.subscriptions import (
    Subscription,
    SubscriptionContent,
    UnknownEventTypesError,
    create_subscription,
    delete_subscription,
    find_subscription,
    list_subscriptions,
    replace_subscription,
)

_decoder = msgspec.json.Decoder(SubscriptionForm)


def list_routes() -> list[web.RouteDef]:
    return [
        web.get("/subscriptions", show_all),
        web.post("/subscriptions", create),
        web.get("/subscriptions/{subscription_id}", show_one),
        web.put("/subscriptions/{subscription_id}", replace),
        web.delete("/subscriptions/{subscription_id}", delete),
    ]


async def show_all(request: web.Request) -> web.Response:
    """An application's subscriptions, oldest first."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    found = await list_subscriptions(gateway.pool, application_id)
    return answer_json([show_subscription(subscription, gateway.sealer) for subscription in found])


async def create(request: web.Request) -> web.Response:
    """A new subscription with a secret of its own. The next event is matched with it."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, _decoder)
    application_id, content = await _check(form, caller.require_application)
    now, subscription_id = datetime.now(UTC), str(uuid7())
    sealed = gateway.sealer.seal(str(uuid4()).encode(), context=subscription_id, nonce=os.urandom(NONCE_BYTES))
    subscription = Subscription(
        subscription_id=subscription_id,
        application_id=application_id,
        content=content,
        key_id=sealed.key_id,
        sealed=sealed.sealed,
        created_at=now,
        updated_at=now,
    )
    most = gateway.settings.gateway.subscriptions_max
    try:
        is_created = await create_subscription(gateway.pool, subscription, subscriptions_max=most)
    except UnknownEventTypesError as error:
        raise _refuse_event_types(error) from None
    if is_created is None:
        raise Problem("Forbidden")
    if not is_created:
        raise Problem("TooManySubscriptionsPerApplication", detail=f"An application may have {most} subscriptions.")
    await gateway.publisher.publish(application_id)
    return answer_json(show_subscription(subscription, gateway.sealer), status=201)


async def show_one(request: web.Request) -> web.Response:
    """One subscription."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription = await find_subscription(gateway.pool, take_path_id(request, "subscription_id"))
    if subscription is None:
        raise Problem("NotFound")
    try:
        await caller.require_application(subscription.application_id)
    except Problem:
        # its id must not be found out by the difference
        raise Problem("NotFound") from None
    return answer_json(show_subscription(subscription, gateway.sealer))


async def replace(request: web.Request) -> web.Response:
    """Replace all that its owner says about it; the secret stays. Disabling cancels what is waiting."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription_id = take_path_id(request, "subscription_id")
    form = await read_form(request, _decoder)
    application_id, content = await _check(form, caller.require_application)
    try:
        subscription = await replace_subscription(gateway.pool, application_id, subscription_id, content)
    except UnknownEventTypesError as error:
        raise _refuse_event_types(error) from None
    await gateway.publisher.publish(application_id)
    if subscription is None:
        raise Problem("NotFound")
    return answer_json(show_subscription(subscription, gateway.sealer))


async def delete(request: web.Request) -> web.Response:
    """Delete it; what is waiting is cancelled. Deleted again: the same answer."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    subscription_id, application_id = take_path_id(request, "subscription_id"), take_application_id(request)
    await caller.require_application(application_id)
    is_deleted = await delete_subscription(gateway.pool, application_id, subscription_id)
    await gateway.publisher.publish(application_id)
    if is_deleted is None:
        raise Problem("NotFound")
    return answer_nothing()


def show_subscription(subscription: Subscription, sealer: Sealer) -> dict[str, Any]:
    """A subscription as the API shows it, its secret in both forms."""
    content = subscription.content
    secret = sealer.unseal(
        Sealed(key_id=subscription.key_id, sealed=subscription.sealed), context=subscription.subscription_id
    ).decode()
    label_key, label_value = next(iter(content.labels.items()), ("", ""))
    return {
        "application_id": subscription.application_id,
        "subscription_id": subscription.subscription_id,
        "is_enabled": content.is_enabled,
        "event_types": list(content.event_types),
        "description": content.description,
        "secret": secret,
        "standard_webhooks_secret": format_standard_secret(secret),
        "metadata": content.metadata,
        "label_key": label_key,
        "label_value": label_value,
        "labels": content.labels,
        "target": {"type": "http", "method": content.method, "url": content.url, "headers": content.headers},
        "created_at": show_datetime(subscription.created_at),
        "updated_at": show_datetime(subscription.updated_at),
        "dedicated_workers": [],
    }


async def _check(
    form: SubscriptionForm, require_application: Callable[[str], Awaitable[None]]
) -> tuple[str, SubscriptionContent]:
    labels = form.read_labels()  # before rights are looked at, as clients know it
    application_id = str(form.application_id)
    await require_application(application_id)
    return application_id, check_subscription(form, labels)


def _refuse_event_types(error: UnknownEventTypesError) -> Problem:
    names = ", ".join(error.names)
    return Problem("EventTypeDoesNotExist", detail=f"The application does not have: {names}. Create them first.")
