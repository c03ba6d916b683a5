"""Answers that succeed."""

from typing import Any

import orjson
from aiohttp import web


def answer_json(content: Any, *, status: int = 200) -> web.Response:
    """JSON."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def answer_nothing() -> web.Response:
    """204."""
    return web.Response(status=204)
