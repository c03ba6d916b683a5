"""Reading a request's body into the form it must have. What has another form is one problem: `JsonPayload`."""

from typing import TypeVar

import msgspec
from aiohttp import web

from pipeline.gateway.problems import Problem

JSON_TYPE = "application/json"

T = TypeVar("T")


class Form(msgspec.Struct, frozen=True):
    """A request body; members it does not name are ignored."""


async def read_form(request: web.Request, decoder: "msgspec.json.Decoder[T]") -> T:
    """The body as the decoder's type. Raises `Problem`."""
    if request.content_type != JSON_TYPE:
        raise Problem("JsonPayload", detail=f"The `Content-Type` must be {JSON_TYPE}, not {request.content_type}.")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        detail = f"The body may have at most {request._client_max_size} bytes."  # noqa: SLF001 - aiohttp shows it nowhere else
        raise Problem("JsonPayload", detail=detail, status=413) from error
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem("JsonPayload", detail=f"The body has another form than documented: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("JsonPayload", detail=f"The body is not JSON: {error}.") from None
