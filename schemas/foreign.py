"""Avro schemas that others wrote, as a registry has them: compiled to readers."""

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_reader

from schemas.codec import SchemaError

ReadAvro = Callable[[bytes], Any]
# Parts of one value, those of arrays and maps apart; and of each element of these, parts that take no bytes.
PARTS_MAX = 10_000
EMPTY_PARTS_MAX = 100


class Size(NamedTuple):
    """The size of a type's values: how many parts they have at most, and how many of these can take no bytes."""

    parts: int
    empty_parts: int

    @property
    def is_empty(self) -> bool:
        return self.parts == self.empty_parts


ATOM, NOTHING = Size(1, 0), Size(1, 1)


def compile_reader(text: str, *, references: Sequence[str] = ()) -> ReadAvro:
    """Reads data of this schema; what it returns raises `SchemaError`. Raises it, too, for what is no schema.

    `references`: schemas whose types this one names, each behind those that it names itself.

    Refused are schemas with which a few bytes could fill the memory or end the process: fastavro counts neither the
    elements of an array that take no bytes nor how deep it reads a type that holds itself.
    """
    names: dict[str, Any] = {}
    try:
        for each in references:
            parse_schema(json.loads(each), named_schemas=names)
        schema = parse_schema(json.loads(text), named_schemas=names)
        _measure(schema, names, frozenset(), {})
    except SchemaError:
        raise
    # whatever a schema is not, fastavro stumbles over it in its own way
    except Exception as error:
        raise SchemaError(f"it is no Avro schema: {type(error).__name__}: {error}") from error

    def read(data: bytes) -> Any:
        body = BytesIO(data)
        try:
            value = schemaless_reader(body, schema, None)
        except Exception as error:
            raise SchemaError(f"the data does not decode: {type(error).__name__}") from error
        if body.tell() != len(data):
            raise SchemaError(f"the data has {len(data) - body.tell()} bytes left over")
        return value

    return read


def _measure(schema: Any, names: Mapping[str, Any], within: frozenset[str], known: dict[str, Size]) -> Size:
    """Measure a type. Raises `SchemaError` for what is refused. `within`: types that are open; `known`: those done."""
    match schema:
        case str() if schema in names:
            if schema in within:
                raise SchemaError(f"its type {schema} holds itself, which is not read")
            if schema not in known:
                known[schema] = _measure(names[schema], names, within, known)
            return known[schema]
        case str():
            return NOTHING if schema == "null" else ATOM
        case list():
            sizes = [_measure(each, names, within, known) for each in schema]
            # which of them it is takes a byte
            return Size(1 + max((each.parts for each in sizes), default=0), max((each[1] for each in sizes), default=0))
        case {"type": "record" | "error", "name": str(name), "fields": fields}:
            return _add_up(name, [_measure(field["type"], names, within | {name}, known) for field in fields])
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            _check_element(schema["type"], _measure(inner, names, within, known))
        case {"type": "fixed", "size": size}:
            return NOTHING if size == 0 else ATOM
    return ATOM


def _add_up(name: str, fields: Sequence[Size]) -> Size:
    parts, empty_parts = (sum(each[index] for each in fields) for index in range(2))
    if parts >= PARTS_MAX:
        raise SchemaError(f"a value of its type {name} has {PARTS_MAX} parts or more, which is not read")
    return Size(parts + 1, empty_parts + (parts == empty_parts))


def _check_element(kind: str, size: Size) -> None:
    if kind == "array" and size.is_empty:
        raise SchemaError("it has an array of what takes no bytes, which is not read")
    if size.empty_parts > EMPTY_PARTS_MAX:
        raise SchemaError(f"an element has more than {EMPTY_PARTS_MAX} parts that take no bytes")
