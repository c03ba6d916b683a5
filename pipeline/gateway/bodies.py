"""Reads a request's body into its form. Any other form is one problem: `JsonPayload`."""

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.text import NUL_ESCAPED, find_nul
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.problems import Problem
from pipeline.gateway.unpacking import TooLargeError, unpack
from pipeline.gateway.validation import Findings
from pipeline.pauses import wait_turn
from pipeline.tenant import TENANT

# A payload becomes bytes, in which NUL is one like any other; an event of a batch is looked at when it is decoded.
MAY_HAVE_NUL = frozenset(("payload", "events"))

# A form has a few hundred values: 5 MiB of them would hold up the loop, which all requests share, for a second. Largest
# are three certificates or keys of 64 KiB, and ten thousand ids.
FORM_MAX_BYTES = 384 * 1024
# Unpacking and checking a body takes up to 30 ms, which cannot be divided: one above this size waits for its turn.
LONG_BYTES = 64 * 1024
# Long bodies in memory at once, of all tenants, which share it; decoded they take some four times as much.
BODIES_MAX_BYTES = 128 * 1024 * 1024
ROOM = web.RequestKey("room", tuple[str, int])

EMPTY = msgspec.Raw()

T = TypeVar("T")


class Form(msgspec.Struct, frozen=True):
    """A request body; members it does not name are ignored."""


class Payloads(msgspec.Struct, frozen=True):
    """The members of forms that may be as large as a payload."""

    payload: msgspec.Raw = EMPTY
    example: msgspec.Raw = EMPTY


_payload_decoder = msgspec.json.Decoder(Payloads)


async def read_form(
    request: web.Request, decoder: "msgspec.json.Decoder[T]", *, beside_payload_max_bytes: int | None = FORM_MAX_BYTES
) -> T:
    """The body as the decoder's type. Raises `Problem`. `beside_payload_max_bytes`: None: what a body may have."""
    if request.content_type != JSON_TYPE:
        raise Problem("JsonPayload", detail=f"The `Content-Type` must be {JSON_TYPE}, not {request.content_type}.")
    body = await read_body(request)
    problem = find_json_problem(body)
    if problem is not None:
        raise Problem("JsonPayload", detail=f"The body {problem}.")
    if beside_payload_max_bytes is not None and _measure_beside_payload(body) > beside_payload_max_bytes:
        detail = f"The body may have at most {beside_payload_max_bytes} bytes beside its payload."
        raise Problem("JsonPayload", detail=detail, status=413)
    return decode_form(body, decoder, what="body")


def _measure_beside_payload(body: bytes) -> int:
    if len(body) <= FORM_MAX_BYTES:
        return len(body)
    try:
        found = _payload_decoder.decode(body)
    except msgspec.DecodeError:  # no object
        return len(body)
    return len(body) - sum(map(len, (found.payload, found.example)))


def decode_form(text: "bytes | msgspec.Raw", decoder: "msgspec.json.Decoder[T]", *, what: str) -> T:
    """JSON, already known to be such, as the decoder's type. Raises `Problem`."""
    try:
        form = decoder.decode(text)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Problem("JsonPayload", detail=f"The {what} has another form than documented: {error}.") from None
    # only an escape can bring NUL in, so that hardly any body has to be walked through
    if NUL_ESCAPED in bytes(text):
        refuse_nul(form)
    return form


def refuse_nul(form: object) -> None:
    """Check that no text but a payload has NUL: PostgreSQL could not hold it. Raises `Problem`."""
    place = find_nul(form, exempt=MAY_HAVE_NUL)
    if place is not None:
        findings = Findings()
        findings.add(place, "non_control_character", "it must not contain NUL")
        findings.raise_if_any()


async def read_body(request: web.Request) -> bytes:
    """The whole body, unpacked. Raises `Problem`."""
    body = await _receive(request)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    is_packed = encoding not in ("", "identity")
    if is_packed or len(body) > LONG_BYTES:
        await wait_turn()
    if not is_packed:
        return body
    try:
        return unpack(body, encoding, max_bytes=request._client_max_size)  # noqa: SLF001 - aiohttp shows it nowhere else
    except TooLargeError:
        raise _refuse_size(request) from None
    except ValueError as error:
        raise Problem("JsonPayload", detail=f"The body cannot be unpacked: {_explain(error)}.") from None


async def _receive(request: web.Request) -> bytes:
    """The body as it comes, which must arrive within the time that the settings give it. Raises `Problem`."""
    await _take_room(request)
    try:
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(request.app[GATEWAY].settings.gateway.request_timeout_s):
            return await request.read()
    except TimeoutError:
        raise Problem("RequestTimeout", detail="The body did not arrive in time.") from None
    except web.HTTPRequestEntityTooLarge as error:
        raise _refuse_size(request) from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        # framed wrongly, or cut off
        raise Problem("JsonPayload", detail=f"The body cannot be read: {_explain(error)}.") from None


async def _take_room(request: web.Request) -> None:
    """Wait until the tenant may have one more long body in memory, and count it until the request is answered."""
    size_bytes = request.content_length
    if size_bytes is None or "Content-Encoding" in request.headers:
        size_bytes = request._client_max_size  # noqa: SLF001 - it may come to so much
    if size_bytes <= LONG_BYTES or not request.can_read_body:
        return
    gateway, tenant = request.app[GATEWAY], TENANT.get()
    try:
        timeout_s = gateway.settings.gateway.request_timeout_s
        await gateway.bodies.take_in_turn(tenant, size_bytes, timeout_s=timeout_s)
    except TimeoutError:
        detail = "Too many large requests of this organization are under way."
        raise Problem("ServiceUnavailable", detail=detail) from None
    request[ROOM] = (tenant, size_bytes)


def give_back_room(request: web.Request) -> None:
    """The request is answered: its body's room is others'."""
    room = request.pop(ROOM, None)
    if room is not None:
        request.app[GATEWAY].bodies.give_back(*room)


def _refuse_size(request: web.Request) -> Problem:
    detail = f"The body may have at most {request._client_max_size} bytes."  # noqa: SLF001 - aiohttp shows it nowhere else
    return Problem("JsonPayload", detail=detail, status=413)


def _explain(error: Exception) -> str:
    # what our parser says of a body begins with a status and ends in a picture of its bytes
    text = str(getattr(error, "message", "") or error).partition("\n")[0].strip(" :.")
    return text if text.isprintable() and text else "it is not what its headers say"
