"""Events to the HTTP API, as any producer sends them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, InvalidURL, TCPConnector

from pipeline.commands.sending.destination import Destination
from pipeline.commands.sending.pace import IN_FLIGHT_MAX, SendError

TIMEOUT_S = 30.0
ANSWER_SHOWN_MAX_CHARS = 300


@asynccontextmanager
async def open_http(
    destination: Destination, payload: str, content_type: str
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Yields a function that sends one event and returns its id, or raises `SendError`."""
    form = {
        "application_id": destination.application_id,
        "event_type": destination.event_type,
        "payload": payload,
        "payload_content_type": content_type,
        "labels": destination.labels,
    }
    url = f"{destination.api}/event"
    async with ClientSession(
        headers={"Authorization": f"Bearer {destination.secret}"},
        timeout=ClientTimeout(total=TIMEOUT_S),
        connector=TCPConnector(limit=IN_FLIGHT_MAX),
        cookie_jar=DummyCookieJar(),
    ) as session:

        async def send() -> str:
            event = form | {"occurred_at": datetime.now(UTC).isoformat()}
            try:
                async with session.post(url, json=event) as response:
                    text = await response.text(errors="replace")
                    if response.status == 201:
                        return str((await response.json(content_type=None))["event_id"])
            except InvalidURL as error:
                raise SendError(
                    f"--api {destination.api!r} is no address; it looks like http://host:port/api/v1"
                ) from error
            except (ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
                raise SendError(f"no answer from {url} ({_describe(error)}): does it run, is --api right?") from error
            raise SendError(f"{url} answered {response.status}: {_find_detail(text)}")

        yield send


def _find_detail(text: str) -> str:
    """What a problem says; other answers as they are."""
    try:
        problem = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return text[:ANSWER_SHOWN_MAX_CHARS]
    detail = " ".join(str(problem[member]) for member in ("id", "detail") if member in problem)
    return f"{detail} {problem.get('validation') or ''}".strip()[:ANSWER_SHOWN_MAX_CHARS]


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__
