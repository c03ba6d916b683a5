"""Reading ids and filters from paths and query strings. What cannot be read is answered in plain text."""

import base64
import csv
import json
from datetime import date
from uuid import UUID

from aiohttp import web

from pipeline.core.moments import parse_moment, parse_query_moment, show_moment
from pipeline.gateway.context import Gateway
from pipeline.gateway.headers import link_to
from pipeline.postgres.archive_attempts import AttemptFilter, Cursor
from pipeline.postgres.dead_letters import LetterFilter

CURSOR_MAX_CHARS = 200


def take_path_id(request: web.Request, name: str) -> str:
    """A UUID of the path, in its canonical form. Answers 404 when it is none."""
    try:
        return str(UUID(request.match_info[name]))
    except ValueError as error:
        raise web.HTTPNotFound(text=f"{name} must be a UUID") from error


def take_application_id(request: web.Request) -> str:
    """The application every query names. Answers 400 when it is missing or no UUID."""
    return take_id(request, "application_id")


def take_id(request: web.Request, name: str) -> str:
    """A UUID that the query must name. Answers 400 when it is missing or no UUID."""
    found = _take_id(request, name)
    if found is None:
        raise web.HTTPBadRequest(text=f"Query deserialize error: missing field `{name}`")
    return found


def take_filter(request: web.Request, application_id: str) -> AttemptFilter:
    """The filters of a list of attempts. Answers 400 when one cannot be read."""
    return AttemptFilter(
        application_id=application_id,
        event_id=_take_id(request, "event_id"),
        subscription_id=_take_id(request, "subscription_id"),
        created_min_us=_take_moment(request, "min_created_at"),
        created_max_us=_take_moment(request, "max_created_at"),
        event_types=_take_names(request, "event.event_type_names"),
        after=_take_cursor(request),
    )


def take_letter_filter(request: web.Request, application_id: str) -> LetterFilter:
    """The filters of a list of dead letters."""
    return LetterFilter(
        application_id=application_id,
        subscription_id=_take_id(request, "subscription_id"),
        event_id=_take_id(request, "event_id"),
        reason=request.query.get("reason"),
        died_min_us=_take_moment(request, "min_died_at"),
        died_max_us=_take_moment(request, "max_died_at"),
        with_redriven=request.query.get("with_redriven", "false") == "true",
        after=_take_letter_cursor(request),
    )


def link_next(gateway: Gateway, request: web.Request, last: Cursor) -> str:
    """The `Link` header's value that leads to the page behind `last`, with the same filters."""
    url = link_to(request, gateway.settings.gateway.public_url, pagination_cursor=show_cursor(last))
    return f'<{url}>; rel="next"'


def show_cursor(cursor: Cursor) -> str:
    """A cursor as clients carry it."""
    text = json.dumps({"date": show_moment(cursor.created_at_us), "id": cursor.attempt_id}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read_cursor(text: str) -> Cursor:
    """A cursor again. Raises `ValueError`."""
    if len(text) > CURSOR_MAX_CHARS:
        raise ValueError("it is too long")
    text = text.rstrip("=")
    fields = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    match fields:
        case {"date": str(date), "id": str(attempt_id)}:
            return Cursor(created_at_us=parse_moment(date), attempt_id=str(UUID(attempt_id)))
    raise ValueError("it has no date and id")


def _take_id(request: web.Request, name: str) -> str | None:
    text = request.query.get(name)
    try:
        return str(UUID(text)) if text is not None else None
    except ValueError as error:
        raise _refuse(name, "a UUID") from error


def take_date(request: web.Request, name: str) -> date | None:
    """A day of the query, `2026-11-24`; None when it is not given. Answers 400 when it cannot be read."""
    text = request.query.get(name)
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise _refuse(name, "a date such as 2026-11-24") from error


def _take_moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    try:
        return parse_query_moment(text) if text is not None else None
    except ValueError as error:
        raise _refuse(name, "a date and time as in RFC 3339") from error


def _take_names(request: web.Request, name: str) -> tuple[str, ...]:
    """A list with commas between, as RFC 4180 has a line: what has a comma itself stands in quotes."""
    try:
        (names,) = csv.reader([request.query.get(name, "")], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise _refuse(name, "names with commas between") from error
    return tuple(stripped for each in names if (stripped := each.strip()))


def _take_letter_cursor(request: web.Request) -> tuple[int, str] | None:
    cursor = _take_cursor(request)
    return (cursor.created_at_us, cursor.attempt_id) if cursor is not None else None


def _take_cursor(request: web.Request) -> Cursor | None:
    text = request.query.get("pagination_cursor")
    try:
        return read_cursor(text) if text is not None else None
    except ValueError as error:
        raise _refuse("pagination_cursor", "a cursor of this API") from error


def _refuse(name: str, wanted: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f"Query deserialize error: `{name}` must be {wanted}")
