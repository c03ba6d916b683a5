"""Answers that succeed, and the types that they are made of."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
from aiohttp import web

from pipeline.pauses import Pauses

T = TypeVar("T")

# texts of these forms: only the API's document looks at the annotation
Id = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]


def answer_json(content: Any, *, status: int = 200) -> web.Response:
    """JSON."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def answer_list(items: Sequence[bytes]) -> web.Response:
    """JSON, of items that are JSON already: a long list is encoded part by part."""
    return web.Response(body=b"[" + b",".join(items) + b"]", content_type="application/json")


async def answer_each(items: Iterable[T], show: Callable[[T], object]) -> web.Response:
    """Encode a list of any length as JSON, item by item, and let other requests run in between."""
    encoded, pauses = [], Pauses()
    for item in items:
        await pauses.take()
        encoded.append(orjson.dumps(show(item)))
    return answer_list(encoded)


def answer_nothing() -> web.Response:
    """204."""
    return web.Response(status=204)
