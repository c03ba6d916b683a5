"""A sample event, and the event type that it needs."""

import json

from pipeline.client import Client
from pipeline.commands.sending.destination import Destination
from pipeline.commands.up.demo import describe_type
from pipeline.start_error import StartError


def make_sample(event_type: str) -> str:
    """A payload that says of itself that it is a sample."""
    resource = event_type.split(".")[1] if event_type.count(".") == 2 else "resource"
    return json.dumps({"type": event_type, "sample": True, "data": {resource: {"id": f"{resource}_sample_1"}}})


async def provide_event_type(destination: Destination) -> None:
    """Make the type unless the application has it. Raises `StartError`, `ApiError`."""
    words = destination.event_type.split(".")
    if len(words) != 3 or not all(words):
        raise StartError(f"{destination.event_type!r} is no event type: it has three parts, like billing.invoice.paid")
    async with Client(destination.api, destination.secret) as client:
        # one that exists is answered as one that was made
        await client.post_event_types(describe_type(destination.application_id, destination.event_type))
