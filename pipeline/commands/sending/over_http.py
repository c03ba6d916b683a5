"""Events to the HTTP API, as any producer sends them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pipeline.client import AddressError, ApiError, Client, ProblemError
from pipeline.client.models import EventForm
from pipeline.commands.sending.destination import Destination
from pipeline.commands.sending.pace import IN_FLIGHT_MAX, SendError

ANSWER_SHOWN_MAX_CHARS = 300


@asynccontextmanager
async def open_http(
    destination: Destination, payload: str, content_type: str
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Yields a function that sends one event and returns its id, or raises `SendError`."""
    url = f"{destination.api}/event"
    async with Client(destination.api, destination.secret, connections_max=IN_FLIGHT_MAX) as client:

        async def send() -> str:
            event: EventForm = {
                "application_id": destination.application_id,
                "event_type": destination.event_type,
                "payload": payload,
                "payload_content_type": content_type,
                "labels": destination.labels,
                "occurred_at": datetime.now(UTC).isoformat(),
            }
            try:
                return (await client.post_event(event)).body["event_id"]
            except ProblemError as error:
                said = f"{error.id} {error.detail} {error.validation or ''}".strip()[:ANSWER_SHOWN_MAX_CHARS]
                raise SendError(f"{url} answered {error.status}: {said}") from error
            except AddressError as error:
                raise SendError(f"--api {error}") from error
            except (ApiError, KeyError, TypeError) as error:
                raise SendError(f"no answer from {url} ({error}): does it run, is --api right?") from error

        yield send
