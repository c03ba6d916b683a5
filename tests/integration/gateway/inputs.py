"""Every text input of every operation, found in the gateway's own code: a new route or field is walked without more.

Bodies come from the types of the decoders that a handler's module has; members of queries from what operations
declare; parts of paths from the routes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

from pipeline.core.events.moments import Moment
from pipeline.gateway.operations import Operation as Served
from pipeline.gateway.server import API_PATH
from pipeline.gateway.server import list_operations as list_served

HEADERS = ("Authorization", "Idempotency-Key", "Host", "Content-Type", "Content-Encoding", "Hookline-Hop", "Accept")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route, and a body that its handler takes; None: it reads none."""

    method: str
    path: str
    body: Any

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def list_operations(known: dict[str, str]) -> list[Operation]:
    """All that the gateway serves. `known`: field → the value that makes a request valid."""
    return [Operation(route.method, API_PATH + route.path, _make_body(route, known)) for route in list_served()]


def list_query_names() -> dict[str, list[str]]:
    """List the query members that each operation declares: it cannot read another one."""
    return {
        f"{served.method} {API_PATH}{served.path}": [parameter.name for parameter in served.query]
        for served in list_served()
    }


def list_texts(node: Any, path: Path = ()) -> Iterator[Path]:
    """Where texts are in a body; a path that ends in `"<key>"` is the first key of a map."""
    if isinstance(node, str):
        yield path
    elif isinstance(node, dict):
        if path and node and path[-1] in ("labels", "metadata", "headers"):
            yield (*path, "<key>")
        for name, inner in node.items():
            yield from list_texts(inner, (*path, name))
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from list_texts(inner, (*path, index))


def replace_text(node: Any, path: Path, text: str) -> Any:
    """A body with another text at a place."""
    if not path:
        return text
    first, rest = path[0], path[1:]
    if first == "<key>":
        return {text if index == 0 else name: inner for index, (name, inner) in enumerate(node.items())}
    if isinstance(node, list):
        return [replace_text(inner, rest, text) if index == first else inner for index, inner in enumerate(node)]
    return {name: replace_text(inner, rest, text) if name == first else inner for name, inner in node.items()}


def _make_body(route: Served, known: dict[str, str]) -> Any:
    handler: Any = route.handler
    names = [name for name in handler.__code__.co_names if isinstance(handler.__globals__.get(name), DECODER)]
    if not names:
        return None
    form = handler.__globals__[names[0]].type
    inner = [value.type for value in handler.__globals__.values() if isinstance(value, DECODER)]
    return _sample(form, "", known, raw_as=next((kind for kind in inner if kind is not form), None))


DECODER = msgspec.json.Decoder


def _sample(kind: Any, name: str, known: dict[str, str], *, raw_as: Any = None) -> Any:
    """A value of a type, with every optional member there."""
    if get_origin(kind) is not None:
        return _sample_of(get_origin(kind), get_args(kind), name, known, raw_as)
    if kind is msgspec.Raw:
        return _sample(raw_as, name, known)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        return {field: _sample(inner, field, known, raw_as=raw_as) for field, inner in fields.items()}
    if kind is bool:
        return True
    if kind in (int, float):
        return 1
    if kind in (str, UUID, Moment):
        return known.get(name, "text")
    raise TypeError(f"no sample of {kind}: add it here")


def _is_raw_list(arguments: tuple[Any, ...]) -> bool:
    """Is this JSON that is decoded later, item by item?"""
    metas = [each for each in arguments[1:] if isinstance(each, msgspec.Meta)]
    are_lists = any((each.extra_json_schema or {}).get("type") == "array" for each in metas)
    return arguments[0] is msgspec.Raw and are_lists


def _sample_of(origin: Any, arguments: tuple[Any, ...], name: str, known: dict[str, str], raw_as: Any) -> Any:
    if origin is Annotated:
        found = _sample(arguments[0], name, known, raw_as=raw_as)
        return [found] if _is_raw_list(arguments) else found
    if origin in (Union, UnionType):
        return _sample(next(part for part in arguments if part is not NoneType), name, known)
    if origin is Literal:
        return arguments[0]
    if name == "payload_filter":
        return {"path": "/a", "op": "eq", "value": 1}
    if origin is dict:
        return {"all": "yes"} if name == "labels" else {"x-name": "value"}
    return [_sample(arguments[0], name, known, raw_as=raw_as)]  # a list or a tuple
