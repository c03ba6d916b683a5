"""The demo: an organization with an application, its secret, event types, and a subscription to `hookline listen`.

Made through the HTTP API as any customer would, and kept in a file, so that a later start shows the same ids. Deleted
parts are made again.
"""

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec

from pipeline.embedded.data_dir import write_private

if TYPE_CHECKING:  # an HTTP client costs a start as much as everything else that is imported before Kafka runs
    from pipeline.client import Answer, Client
    from pipeline.client.models import ApplicationForm, EventTypeForm, SecretForm, SubscriptionForm

ORGANIZATION = "Demo"
APPLICATION = "Demo shop"
EVENT_TYPES = ("shop.order.placed", "shop.order.paid", "shop.order.shipped", "shop.order.cancelled")
LABELS = {"environment": "demo"}
MISSING = (403, 404)  # missing and forbidden are indistinguishable
T = TypeVar("T")


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """Ids and secrets of the demo; empty until they are made."""

    organization_id: str = ""
    application_id: str = ""
    application_secret: str = ""
    subscription_id: str = ""
    subscription_secret: str = ""
    receiver: str = ""


def read_demo(file: Path) -> Demo:
    """Read the demo of an earlier start. A file that cannot be read counts as none: the demo is then made anew."""
    try:
        demo = msgspec.json.decode(file.read_bytes(), type=Demo)
        for known in (demo.application_id, demo.subscription_id):
            UUID(known)  # they become parts of addresses
    except (OSError, ValueError):
        return Demo()
    return demo


async def provide_demo(client: "Client", file: Path, *, receiver: str) -> Demo:
    """Make the demo, or see that it is still there. `receiver`: the URL that its subscription delivers to.

    Raises `ApiError`.
    """
    demo = await _provide_application(client, read_demo(file))
    demo = await _provide_secret(client, demo)
    await _provide_event_types(client, demo.application_id)
    demo = await _provide_subscription(client, demo, receiver)
    write_private(file, msgspec.json.encode(demo).decode() + "\n")
    return demo


def describe_type(application_id: str, event_type: str) -> "EventTypeForm":
    """The body that makes a type of three parts."""
    service, resource_type, verb = event_type.split(".")
    return {"application_id": application_id, "service": service, "resource_type": resource_type, "verb": verb}


async def _find(asked: "Awaitable[Answer[T]]") -> T | None:
    """The answer's body; None if the gateway answers that there is no such thing."""
    from pipeline.client import ProblemError

    try:
        return (await asked).body
    except ProblemError as error:
        if error.status in MISSING:
            return None
        raise


async def _provide_application(client: "Client", known: Demo) -> Demo:
    if known.application_id and await _find(client.get_application(known.application_id)) is not None:
        return known
    organization = (await client.post_organizations({"name": ORGANIZATION})).body
    form: ApplicationForm = {"organization_id": organization["organization_id"], "name": APPLICATION}
    application = (await client.post_applications(form)).body
    return Demo(organization_id=application["organization_id"], application_id=application["application_id"])


async def _provide_secret(client: "Client", demo: Demo) -> Demo:
    from pipeline.client import Client

    if demo.application_secret:
        async with Client(client.base_url, demo.application_secret) as own:
            if await _find(own.list_event_types(application_id=demo.application_id)) is not None:
                return demo
    form: SecretForm = {"application_id": demo.application_id, "name": "demo"}
    return msgspec.structs.replace(demo, application_secret=(await client.post_application_secrets(form)).body["token"])


async def _provide_event_types(client: "Client", application_id: str) -> None:
    found = (await client.list_event_types(application_id=application_id)).body
    for missing in sorted(set(EVENT_TYPES) - {event_type["event_type_name"] for event_type in found}):
        await client.post_event_types(describe_type(application_id, missing))


async def _provide_subscription(client: "Client", demo: Demo, receiver: str) -> Demo:
    found = None
    if demo.subscription_id:
        found = await _find(client.get_subscription(demo.subscription_id))
    if found is None or found["application_id"] != demo.application_id:
        form: SubscriptionForm = {
            "application_id": demo.application_id,
            "is_enabled": True,
            "event_types": list(EVENT_TYPES),
            "description": "Shown by hookline listen",
            "metadata": {},
            "labels": LABELS,
            "target": {"type": "http", "method": "POST", "url": receiver, "headers": {}},
        }
        made = (await client.post_subscriptions(form)).body
        return _note(demo, made["subscription_id"], made["secret"], receiver)
    if found["target"]["url"] != receiver:
        # another program has taken its port; everything else stays as its owner left it
        changed: Any = found | {"target": found["target"] | {"url": receiver}}
        await client.put_subscription(demo.subscription_id, changed)
    return _note(demo, demo.subscription_id, found["secret"], receiver)


def _note(demo: Demo, subscription_id: str, secret: str, receiver: str) -> Demo:
    return msgspec.structs.replace(demo, subscription_id=subscription_id, subscription_secret=secret, receiver=receiver)
