"""Reading ids and filters from paths and query strings. What cannot be read is answered by `InvalidQuery`."""

import base64
import csv
import json
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import orjson
from aiohttp import web

from pipeline.core.events.ids import read_uuid
from pipeline.core.events.moments import parse_moment, parse_query_moment, show_moment
from pipeline.core.events.names import LABELS_MAX
from pipeline.gateway.context import Gateway
from pipeline.gateway.headers import set_links
from pipeline.gateway.operations import OPERATION, Parameter
from pipeline.postgres.archive.dead_letters import LetterFilter
from pipeline.postgres.archive.paging import Cursor, ListFilter, find_neighbours

CURSOR_MAX_CHARS = 200
LIMIT_MAX = 1_000
# `date.fromisoformat` reads more of ISO 8601: weeks, and no hyphens
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_names(text: str) -> tuple[str, ...]:
    """A list separated by commas, as a line of RFC 4180: a value with a comma stands in quotes."""
    try:
        (names,) = csv.reader([text], skipinitialspace=True, strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return tuple(stripped for each in names if (stripped := each.strip()))


def read_pairs(text: str) -> dict[str, str]:
    """`a=b,c=d`, quoted as names are; no more than an event has. Raises `ValueError`."""
    pairs = [name.partition("=") for name in read_names(text)]
    if len(pairs) > LABELS_MAX or not all(key and separator for key, separator, _ in pairs):
        raise ValueError(text)
    return {key: value for key, _, value in pairs}


def read_cursor(text: str) -> Cursor:
    """A cursor again. Raises `ValueError`."""
    if len(text) > CURSOR_MAX_CHARS:
        raise ValueError("it is too long")
    text = text.rstrip("=")
    fields = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    match fields:
        case {"date": str(date), "id": str(attempt_id)}:
            is_backward = fields.get("back") is True
            return Cursor(created_at_us=parse_moment(date), attempt_id=read_uuid(attempt_id), is_backward=is_backward)
    raise ValueError("it has no date and id")


def declare_id(name: str, meaning: str = "", *, is_required: bool = False) -> Parameter:
    """A UUID in the query."""
    schema = {"type": "string", "format": "uuid"}
    return Parameter(
        name=name, schema=schema, read=read_uuid, wanted="a UUID", is_required=is_required, meaning=meaning
    )


def declare_moment(name: str, meaning: str) -> Parameter:
    """A date-time in the query."""
    schema = {"type": "string", "format": "date-time"}
    wanted = "a date and time as in RFC 3339"
    return Parameter(name=name, schema=schema, read=parse_query_moment, wanted=wanted, meaning=meaning)


def declare_text(name: str, meaning: str, read: Callable[[str], Any] = str, wanted: str = "a text") -> Parameter:
    """Any text in the query."""
    return Parameter(name=name, schema={"type": "string"}, read=read, wanted=wanted, meaning=meaning)


def declare_some(name: str, known: Sequence[str]) -> Parameter:
    """Some of the known values, with commas between."""

    def read(text: str) -> tuple[str, ...]:
        names = read_names(text)
        if not set(names) <= set(known):
            raise ValueError(text)
        return names

    listed = ", ".join(known)
    return declare_text(name, f"Only those: {listed}.", read, f"some of {listed}, with commas between")


def read_limit(text: str) -> int:
    """Read the size of a page. Raises `ValueError`."""
    limit = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(text)
    return limit


LIMIT = Parameter(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
    read=read_limit,
    wanted=f"a number from 1 to {LIMIT_MAX:,}",
    meaning="How many a page has; all of them, on one page, when left out.",
)
APPLICATION_ID = declare_id("application_id", "Whose it is.", is_required=True)
ORGANIZATION_ID = declare_id("organization_id", "Whose it is.", is_required=True)
EVENT_ID = declare_id("event_id", "Only of this event.")
SUBSCRIPTION_ID = declare_id("subscription_id", "Only of this subscription.")
CURSOR = declare_text(
    "pagination_cursor", "Where the page begins: of a `Link` header.", read_cursor, "a cursor of this API"
)
CREATED = (
    declare_moment("min_created_at", "Only from this moment on."),
    declare_moment("max_created_at", "Only up to this moment."),
)
EVENT_TYPES = declare_text("event.event_type_names", "Only of these types.", read_names, "names with commas between")
ATTEMPT_FILTERS = (
    APPLICATION_ID,
    EVENT_ID,
    SUBSCRIPTION_ID,
    *CREATED,
    EVENT_TYPES,
    CURSOR,
)
LETTER_FILTERS = (
    APPLICATION_ID,
    SUBSCRIPTION_ID,
    EVENT_ID,
    declare_text("reason", "Only those that died of this."),
    declare_moment("min_died_at", "Only from this moment on."),
    declare_moment("max_died_at", "Only up to this moment."),
    declare_text("with_redriven", "`true`: also those that were sent again."),
    CURSOR,
)


def take_path_id(request: web.Request, name: str) -> str:
    """A UUID of the path, in its canonical form. Answers 404 when it is none."""
    try:
        return read_uuid(request.match_info[name])
    except ValueError as error:
        raise web.HTTPNotFound(text=f"{name} must be a UUID") from error


def take_application_id(request: web.Request) -> str:
    """The application every query names. Answers 400 when it is missing or no UUID."""
    return take_id(request, "application_id")


def take_id(request: web.Request, name: str) -> str:
    """A UUID that the query must name. Answers 400 when it is missing or no UUID."""
    return str(take(request, name))


def take(request: web.Request, name: str) -> Any:
    """A member of the query as its declaration reads it; None when it is not given. Answers 400 when it cannot be read.

    Raises `LookupError` when the operation does not declare it: then its document would be wrong.
    """
    declared = request[OPERATION].parameters.get(name)
    if declared is None:
        raise LookupError(f"the operation does not declare {name!r}")
    texts = request.query.getall(name, ())
    if len(texts) > 1:
        # a proxy that checks one of them must not be passed by the other
        raise web.HTTPBadRequest(text=f"Query deserialize error: duplicate field `{name}`")
    if not texts:
        if declared.is_required:
            raise web.HTTPBadRequest(text=f"Query deserialize error: missing field `{name}`")
        return None
    try:
        return declared.read(texts[0])
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"Query deserialize error: `{name}` must be {declared.wanted}") from error


def take_filter(request: web.Request, application_id: str) -> ListFilter:
    """The filters of a list of attempts or deliveries. Answers 400 when one cannot be read."""
    return ListFilter(
        application_id=application_id,
        event_id=take(request, "event_id"),
        subscription_id=take(request, "subscription_id"),
        created_min_us=take(request, "min_created_at"),
        created_max_us=take(request, "max_created_at"),
        event_types=take(request, "event.event_type_names") or (),
        after=take(request, "pagination_cursor"),
    )


def take_letter_filter(request: web.Request, application_id: str) -> LetterFilter:
    """The filters of a list of dead letters."""
    return LetterFilter(
        application_id=application_id,
        subscription_id=take(request, "subscription_id"),
        event_id=take(request, "event_id"),
        reason=take(request, "reason"),
        died_min_us=take(request, "min_died_at"),
        died_max_us=take(request, "max_died_at"),
        with_redriven=take(request, "with_redriven") == "true",
        after=take(request, "pagination_cursor"),
    )


def add_links(
    gateway: Gateway,
    request: web.Request,
    response: web.Response,
    *,
    after: Cursor | None,
    before: Cursor | None = None,
) -> None:
    """The `Link` header: to the pages behind and before this one, with the same filters."""
    links = [
        (relation, {CURSOR.name: show_cursor(cursor)})
        for relation, cursor in (("next", after), ("prev", before))
        if cursor is not None
    ]
    set_links(request, response, gateway.settings.gateway.public_url, links)


def add_oldest_first_links(
    gateway: Gateway, request: web.Request, response: web.Response, page: Sequence[Cursor], *, is_full: bool
) -> None:
    """Add the `Link` header of a list whose new items come at its end. `page`: the places of its items."""
    cursor: Cursor | None = take(request, CURSOR.name)
    is_backward = cursor is not None and cursor.is_backward
    found = [*page][::-1] if is_backward else page
    first, last = (found[0], found[-1]) if found else (None, None)
    end = last if is_full else None
    before, after = find_neighbours(first, last, after=cursor, end=end, is_oldest_first=True)
    # nothing is ever added before the first item
    is_first = cursor is None or (is_backward and end is None)
    add_links(gateway, request, response, after=after, before=None if is_first else before)


def show_cursor(cursor: Cursor) -> str:
    """A cursor as clients carry it."""
    fields = {"date": show_moment(cursor.created_at_us), "id": cursor.attempt_id}
    text = orjson.dumps(fields | ({"back": True} if cursor.is_backward else {}))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def read_day(text: str) -> date:
    """Read a full-date of RFC 3339. Raises `ValueError`."""
    if DAY.fullmatch(text) is None:
        raise ValueError(text)
    return date.fromisoformat(text)


def declare_day(name: str, meaning: str) -> Parameter:
    """A day in the query, `2026-11-24`."""
    schema = {"type": "string", "format": "date"}
    wanted = "a date such as 2026-11-24"
    return Parameter(name=name, schema=schema, read=read_day, wanted=wanted, meaning=meaning)
