"""A sample event, and the event type that it needs."""

import json

from pipeline.commands.sending.destination import Destination
from pipeline.commands.up.api import Api
from pipeline.start_error import StartError

PARTS = ("service", "resource_type", "verb")


def make_sample(event_type: str) -> str:
    """A payload that says of itself that it is a sample."""
    resource = event_type.split(".")[1] if event_type.count(".") == 2 else "resource"
    return json.dumps({"type": event_type, "sample": True, "data": {resource: {"id": f"{resource}_sample_1"}}})


async def provide_event_type(destination: Destination) -> None:
    """Make the type unless the application has it. Raises `StartError`."""
    words = destination.event_type.split(".")
    if len(words) != len(PARTS) or not all(words):
        raise StartError(f"{destination.event_type!r} is no event type: it has three parts, like billing.invoice.paid")
    async with Api(destination.api, destination.secret) as api:
        # one that exists is answered as one that was made
        await api.create(
            "/event_types", {"application_id": destination.application_id, **dict(zip(PARTS, words, strict=True))}
        )
