"""`GET /events/export`, `GET /request_attempts/export`: everything of some days, in flat memory."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web

from pipeline.core.events.moments import show_moment, show_moment_or_none
from pipeline.gateway.answer_headers import AnswerHeaders
from pipeline.gateway.auth import authorize
from pipeline.gateway.compressed import choose_encoding, start_encoding
from pipeline.gateway.context import GATEWAY, find_tenant
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.events import show_summary
from pipeline.gateway.reads.events_per_day import DAYS, get_today
from pipeline.gateway.reads.export_places import ExportPlaces, Place
from pipeline.gateway.reads.queries import APPLICATION_ID, take, take_application_id
from pipeline.postgres.archive.exports import Export, MadeAttempt, export_attempts, export_events
from pipeline.postgres.archive.reads import ArchivedPayload

NDJSON = "application/x-ndjson"
CHUNK_BYTES = 65_536
DAYS_MAX = 366
PLACES = web.AppKey("export_places", ExportPlaces)
STREAM_HEADERS = web.AppKey("stream_headers", AnswerHeaders)  # of answers whose head leaves before the frame sees them


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET",
            path,
            handler,
            query=(APPLICATION_ID, *DAYS),
            answer=Any,
            answer_types=(NDJSON,),
            problems=("InvalidDateRange",),
        )
        for path, handler in (("/events/export", send_events), ("/request_attempts/export", send_attempts))
    ]


async def send_events(request: web.Request) -> web.StreamResponse:
    """The application's events with their payloads in base64, in the order of the log."""
    wanted = await _take_export(request)
    lines = (_show_event(event) async for event in export_events(request.app[GATEWAY].read_pool, wanted))
    return await _send(request, wanted, lines)


async def send_attempts(request: web.Request) -> web.StreamResponse:
    """The application's attempts that were made or cancelled, by event and delivery."""
    wanted = await _take_export(request)
    lines = (_show_attempt(attempt) async for attempt in export_attempts(request.app[GATEWAY].read_pool, wanted))
    return await _send(request, wanted, lines)


async def _take_export(request: web.Request) -> Export:
    caller = await authorize(request)
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    last = take(request, "to") or get_today(request.app[GATEWAY])
    first = take(request, "from") or last
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise Problem("InvalidDateRange", detail=f"`from` must not be after `to`, nor {DAYS_MAX} days before it.")
    return Export(application_id=application_id, first=first, last=last)


async def _send(
    request: web.Request, wanted: Export, lines: AsyncGenerator[dict[str, Any], None]
) -> web.StreamResponse:
    """Stream `lines`. What fails once the head is sent breaks the connection off, so that the client sees that its copy
    is not whole; before that it is answered as always."""

    def break_off() -> None:
        if request.transport is not None:
            request.transport.abort()

    owner = find_tenant(request.app[GATEWAY], wanted.application_id)
    async with aclosing(lines):
        with request.app[PLACES].take(owner, break_off) as place:
            if place is None:
                detail = (
                    "As many exports as HOOKLINE_GATEWAY_EXPORTS_MAX allows are running in this gateway, or half as "
                )
                detail += "many of this organization; try again later."
                raise Problem("ServiceUnavailable", detail=detail)
            stream = NdjsonStream(request, place)
            if request.method == "HEAD":
                return await stream.end()
            try:
                async for line in lines:
                    await stream.add(line)
                return await stream.end()
            except Exception as error:
                if not stream.response.prepared:
                    raise
                request.app[GATEWAY].log.warning("export_broken_off", reason=f"{type(error).__name__}: {error}")
                break_off()
                return stream.response


class NdjsonStream:
    """An answer whose lines leave as they come, encoded as the client accepts it."""

    def __init__(self, request: web.Request, place: Place) -> None:
        self._request = request
        self._place = place
        self._timeout_s = request.app[GATEWAY].settings.gateway.request_timeout_s
        self._ready = bytearray()
        self.response = web.StreamResponse(headers={"Content-Type": NDJSON, "Vary": "Accept-Encoding"})
        encoding = choose_encoding(request.headers.get("Accept-Encoding"))
        if encoding is not None:
            self.response.headers["Content-Encoding"] = encoding
        self._encoder = start_encoding(encoding) if encoding is not None else None
        request.app[STREAM_HEADERS].add(request, self.response)

    async def add(self, line: dict[str, Any]) -> None:
        """Add a line. Waits until the client has taken those before, at most `HOOKLINE_GATEWAY_REQUEST_TIMEOUT_S`."""
        self._ready += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        if len(self._ready) >= CHUNK_BYTES:
            data = bytes(self._ready)
            self._ready.clear()
            await self._write(self._encoder.compress(data) if self._encoder is not None else data)

    async def end(self) -> web.StreamResponse:
        """Send what is left and the end of the answer."""
        data = bytes(self._ready)
        await self._write(self._encoder.compress(data) + self._encoder.flush() if self._encoder is not None else data)
        await self.response.write_eof()
        return self.response

    async def _write(self, data: bytes) -> None:
        if not self.response.prepared:
            await self.response.prepare(self._request)
        # aiohttp would send it (RFC 9110 §9.3.2: an answer to HEAD has no body)
        if data and self._request.method != "HEAD":
            with self._place.send(len(data)):
                async with asyncio.timeout(self._timeout_s):
                    await self.response.write(data)


def _show_event(found: ArchivedPayload) -> dict[str, Any]:
    return dict(show_summary(found.event)) | {"payload": base64.b64encode(found.payload).decode()}


def _show_attempt(attempt: MadeAttempt) -> dict[str, Any]:
    has_request = attempt.outcome != "cancelled"
    error = None
    if attempt.error_class is not None:
        error = {"class": attempt.error_class, "detail": attempt.error_detail}
    return {
        "request_attempt_id": attempt.attempt_id,
        "delivery_id": attempt.delivery_id,
        "event_id": attempt.event_id,
        "event_type_name": attempt.event_type,
        "subscription_id": attempt.subscription_id,
        "retry_count": attempt.attempt_number - 1,
        "outcome": attempt.outcome,
        "due_at": show_moment(attempt.queued_at_us),
        "started_at": show_moment(attempt.started_at_us) if has_request else None,
        "finished_at": show_moment(attempt.finished_at_us),
        "request": {"method": attempt.request_method, "url": attempt.request_url} if has_request else None,
        "http_response_status": attempt.response_status,
        "error": error,
        "next_attempt_at": show_moment_or_none(attempt.next_due_at_us),
    }
