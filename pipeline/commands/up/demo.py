"""The demo: an organization with an application, its secret, event types, and a subscription to `hookline listen`.

Made through the HTTP API as any customer would, and kept in a file, so that a later start shows the same ids. Deleted
parts are made again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from pipeline.commands.up.data_directory import write_private

if TYPE_CHECKING:  # an HTTP client costs a start as much as everything else that is imported before Kafka runs
    from pipeline.commands.up.api import Api

ORGANIZATION = "Demo"
APPLICATION = "Demo shop"
EVENT_TYPES = ("shop.order.placed", "shop.order.paid", "shop.order.shipped", "shop.order.cancelled")
LABELS = {"environment": "demo"}


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """Ids and secrets of the demo; empty until they are made."""

    organization_id: str = ""
    application_id: str = ""
    application_secret: str = ""
    subscription_id: str = ""
    subscription_secret: str = ""
    receiver: str = ""


def read_demo(file: Path) -> Demo:
    """What an earlier start made. A file that cannot be read counts as none: the demo is then made anew."""
    try:
        demo = msgspec.json.decode(file.read_bytes(), type=Demo)
        for known in (demo.application_id, demo.subscription_id):
            UUID(known)  # they become parts of addresses
    except (OSError, ValueError):
        return Demo()
    return demo


async def provide_demo(api: "Api", file: Path, *, receiver: str) -> Demo:
    """Make the demo, or see that it is still there. `receiver`: the URL that its subscription delivers to."""
    demo = await _provide_application(api, read_demo(file))
    demo = await _provide_secret(api, demo)
    await _provide_event_types(api, demo.application_id)
    demo = await _provide_subscription(api, demo, receiver)
    write_private(file, msgspec.json.encode(demo).decode() + "\n")
    return demo


async def _provide_application(api: "Api", known: Demo) -> Demo:
    if known.application_id and await api.find(f"/applications/{known.application_id}"):
        return known
    organization = await api.create("/organizations", {"name": ORGANIZATION})
    form = {"organization_id": organization["organization_id"], "name": APPLICATION}
    application = await api.create("/applications", form)
    return Demo(organization_id=application["organization_id"], application_id=application["application_id"])


async def _provide_secret(api: "Api", demo: Demo) -> Demo:
    question = f"/event_types?application_id={demo.application_id}"
    if demo.application_secret and await api.find(question, token=demo.application_secret) is not None:
        return demo
    created = await api.create("/application_secrets", {"application_id": demo.application_id, "name": "demo"})
    return msgspec.structs.replace(demo, application_secret=created["token"])


async def _provide_event_types(api: "Api", application_id: str) -> None:
    found = await api.find(f"/event_types?application_id={application_id}") or []
    for missing in sorted(set(EVENT_TYPES) - {event_type["event_type_name"] for event_type in found}):
        parts = dict(zip(("service", "resource_type", "verb"), missing.split("."), strict=True))
        await api.create("/event_types", {"application_id": application_id, **parts})


async def _provide_subscription(api: "Api", demo: Demo, receiver: str) -> Demo:
    found = await api.find(f"/subscriptions/{demo.subscription_id}") if demo.subscription_id else None
    if found is None or found["application_id"] != demo.application_id:
        form = {
            "application_id": demo.application_id,
            "is_enabled": True,
            "event_types": list(EVENT_TYPES),
            "description": "Shown by hookline listen",
            "metadata": {},
            "labels": LABELS,
            "target": {"type": "http", "method": "POST", "url": receiver, "headers": {}},
        }
        found = await api.create("/subscriptions", form)
    elif found["target"]["url"] != receiver:
        # another program has taken its port; everything else stays as its owner left it
        found = await api.replace(f"/subscriptions/{demo.subscription_id}", _redirect(found, receiver))
    return msgspec.structs.replace(
        demo,
        subscription_id=found["subscription_id"],
        subscription_secret=found["secret"],
        receiver=receiver,
    )


def _redirect(subscription: dict[str, Any], receiver: str) -> dict[str, Any]:
    return subscription | {"target": subscription["target"] | {"url": receiver}}
