"""Is an answer as the API's document says? Asked of every answer that a test's client gets."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from pipeline.gateway.openapi import describe_api
from pipeline.gateway.server import API_PATH, list_operations

ANY_PATH = re.compile(r"{\w+}")
PARTIAL = 206
# what an answer may be where the document has no operation for the request
BEYOND_OPERATIONS = {("NotFound", 404), ("MethodNotAllowed", 405), ("InvalidRequest", 400), ("RateLimited", 429)}


def find_deviation(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """Find how an answer deviates from the document; None: it is described. `path`: below the API's own."""
    # not `urlsplit`: two slashes would begin a host
    described = _find_operation(method, path.partition("?")[0])
    if described is None:
        return _judge_beyond(method, status, body)
    name, operation = described
    answer = operation["responses"].get(str(status))
    if answer is None:
        return f"{name} is not described with {status}; its body: {body[:500]!r}"
    content = answer.get("content", {})
    kind = headers.get("Content-Type", "").partition(";")[0]
    if not content:
        return f"{name} has a body with {status}: {body[:200]!r}" if body else None
    if kind not in content:
        return f"{name} answers {status} as {kind!r}, described are {sorted(content)}"
    if method == "HEAD" or status == PARTIAL or not kind.endswith("json") or "Content-Encoding" in headers:
        return None
    error = next(_compile(name, str(status), kind).iter_errors(json.loads(body)), None)
    if error is None:
        return None
    return f"{name} answers {status} with {error.message} at {error.instance_path}: {body[:500]!r}"


@cache
def _read_document() -> dict[str, Any]:
    return describe_api(list_operations(), base_path=API_PATH)


@cache
def _list_patterns() -> list[tuple[re.Pattern[str], str]]:
    """List the paths as patterns; those without an id before those with one in the same place."""
    paths = sorted(_read_document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(ANY_PATH.sub("[^/]+", path)), path) for path in paths]


def _find_operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    trimmed = re.sub("/+", "/", path).rstrip("/")
    for pattern, known in _list_patterns():
        if pattern.fullmatch(trimmed):
            wanted = "get" if method == "HEAD" else method.lower()
            operation = _read_document()["paths"][known].get(wanted)
            return (f"{wanted.upper()} {known}", operation) if operation is not None else None
    return None


def _judge_beyond(method: str, status: int, body: bytes) -> str | None:
    if method == "OPTIONS":
        return None if status == 204 and not body else f"OPTIONS is answered {status}"
    shown = json.loads(body) if body else {}
    found = (shown.get("id") if isinstance(shown, dict) else None, status)
    return None if found in BEYOND_OPERATIONS else f"without an operation it is answered {found}"


@cache
def _compile(name: str, status: str, kind: str) -> Any:
    document = _read_document()
    method, _, path = name.partition(" ")
    schema = document["paths"][path][method.lower()]["responses"][status]["content"][kind]["schema"]
    return jsonschema_rs.Draft202012Validator(schema | {"components": document["components"]}, validate_formats=True)
