"""`ETag` and `If-Match`: a change that was decided on an older state is refused (RFC 9110 §13.1.1)."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from aiohttp import web

from pipeline.gateway.headers import read_header
from pipeline.gateway.operations import Parameter
from pipeline.gateway.problems import Problem

IF_MATCH = Parameter(
    name="If-Match",
    schema={"type": "string"},
    meaning="The `ETag` it was shown with: it is changed only if it is so still.",
)
# strong ones only: weak ones never match here, and other texts are no tags
TAG = re.compile(r'"([0-9a-f]{1,40})"')
TAG_CHARS = 32


def read_wanted(request: web.Request) -> frozenset[str] | None:
    """The tags of `If-Match`, one of which must be the present one; None: it is changed whatever it is."""
    text = read_header(request, IF_MATCH.name)
    if text is None or text.strip() == "*":
        return None
    return frozenset(found[1] for each in text.split(",") if (found := TAG.fullmatch(each.strip())))


def derive_tag(members: Mapping[str, Any]) -> str:
    """The tag of a state: the same for equal members. `members`: what a change replaces, as the API shows it."""
    return sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).hexdigest()[:TAG_CHARS]


def require_match(request: web.Request, members: Mapping[str, Any]) -> bool:
    """True: the change is only wanted of these members; False: of any. Raises `Problem` when the tags are others'."""
    wanted = read_wanted(request)
    if wanted is None:
        return False
    if derive_tag(members) not in wanted:
        raise Problem("PreconditionFailed")
    return True


def add_tag(response: web.Response, tag: str) -> web.Response:
    """The response with its `ETag`."""
    response.headers["ETag"] = f'"{tag}"'
    return response
