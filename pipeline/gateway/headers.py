"""Reading a request's headers, and what of a request is written into a header of the answer."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlencode

from aiohttp import web
from yarl import URL

from pipeline.core.events.text import find_text_problem
from pipeline.core.network.ports import PORT_MAX
from pipeline.gateway.problems import Problem

# uri-host [":" port] of RFC 9110 §7.2, without percent-encodings; it may be empty
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]*)(?::([0-9]{0,5}))?")
HOSTS_REMEMBERED = 1024


def read_header(request: web.Request, name: str) -> str | None:
    """A header's value as text; None when it was not sent. Raises `Problem`: InvalidRequest."""
    value = request.headers.get(name)
    if value is None:
        return None
    problem = find_text_problem(value)
    if problem is not None:
        raise Problem("InvalidRequest", detail=f"The header `{name}` {problem}.")
    return value


@lru_cache(maxsize=HOSTS_REMEMBERED)
def is_host(value: str) -> bool:
    """Can this be a `Host` header's value? RFC 9112 §3.2 wants a 400 for any other."""
    match = HOST.fullmatch(value)
    return match is not None and int(match.group(1) or 0) <= PORT_MAX


def _find_origin(request: web.Request) -> str:
    """Where the client thinks that we are; without a `Host`, the address that it reached."""
    host = request.headers.get("Host", "").strip(":")
    if host:
        return f"{request.scheme}://{host}"
    address, port = (request.get_extra_info("sockname") or ("127.0.0.1", 80))[:2]
    return str(URL.build(scheme=request.scheme, host=address, port=port))


@lru_cache(maxsize=HOSTS_REMEMBERED)
def _show_base(origin: str, path: str) -> str:
    """The URL of a path, percent-encoded, below an origin, which may have a path of its own."""
    base = URL(origin)
    return str(base.with_path(base.raw_path.rstrip("/") + path, encoded=True))


def link_to(request: web.Request, public_url: str | None, **query: str | None) -> str:
    """The URL of the same request with other members of its query, at the address that clients see.

    A member that is None is left out.
    """
    kept = [(name, value) for name, value in request.query.items() if name not in query]
    added = [(name, value) for name, value in query.items() if value is not None]
    # percent-encoded ASCII, so that nothing in it ends the header or the link
    encoded = urlencode([*kept, *added])
    base = _show_base(public_url or _find_origin(request), request.rel_url.raw_path)
    return f"{base}?{encoded}" if encoded else base


def set_links(
    request: web.Request,
    response: web.Response,
    public_url: str | None,
    links: Sequence[tuple[str, Mapping[str, str | None]]],
) -> None:
    """The `Link` header of a page: `links` are relations (`next`, `prev`), each with other members of the query."""
    if links:
        response.headers["Link"] = ", ".join(
            f'<{link_to(request, public_url, **query)}>; rel="{relation}"' for relation, query in links
        )
