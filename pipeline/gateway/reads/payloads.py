"""`GET /events/{event_id}/payload`: an event's payload as it was sent in, or a part of it."""

import re
from typing import Any

from aiohttp import web

from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE, TEXT_TYPE
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation, Parameter
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.events import find_accepted
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id, take_path_id

# what a payload is once its base64 was decoded
SHOWN_TYPES = {JSON_TYPE: JSON_TYPE, TEXT_TYPE: TEXT_TYPE, BINARY_TYPE: "application/octet-stream"}
NO_BYTES = re.compile(r"\s*bytes=-0+\s*")
RANGE = Parameter(
    name="Range", schema={"type": "string"}, meaning="`bytes=0-99`: only these; one range, or all is sent."
)


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET",
            "/events/{event_id}/payload",
            show_payload,
            query=(APPLICATION_ID,),
            headers=(RANGE,),
            answer=Any,
            answer_types=tuple(SHOWN_TYPES.values()),
            other_answers=((206, Any),),
            problems=("RangeNotSatisfiable",),
        ),
    ]


async def show_payload(request: web.Request) -> web.Response:
    """The payload, byte for byte: what receivers get as the body. Takes a `Range` (RFC 9110 §14)."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    event_id, application_id = take_path_id(request, "event_id"), take_application_id(request)
    await caller.require_application(application_id)
    found = await find_accepted(gateway, application_id, event_id)
    if found is None:
        raise Problem("NotFound")
    payload, wanted = found.payload, read_range(request, len(found.payload))
    headers = {"Accept-Ranges": "bytes", "Content-Disposition": "attachment"}
    content_type = SHOWN_TYPES[found.event.payload_content_type]
    if wanted is None:
        return web.Response(body=payload, content_type=content_type, headers=headers)
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{len(payload)}"
    body = payload[wanted.start : wanted.stop]
    return web.Response(body=body, status=206, content_type=content_type, headers=headers)


def read_range(request: web.Request, size_bytes: int) -> range | None:
    """The bytes that are asked for; None: all of them, also where the header cannot be read. Raises `Problem`."""
    try:
        asked = request.http_range
    except ValueError:
        return None
    if asked.start is None and asked.stop is None:
        return None
    start, stop, _ = asked.indices(size_bytes)
    # aiohttp reads `-0`, the last none of the bytes, as all of them
    if NO_BYTES.fullmatch(request.headers.get("Range", "")):
        start = stop
    if (asked.start is not None and asked.start >= size_bytes) or start >= stop:
        raise Problem("RangeNotSatisfiable", detail=f"The payload has {size_bytes} bytes.")
    return range(start, stop)
