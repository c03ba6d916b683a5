"""Avro schemas that others wrote, as a registry has them: compiled to readers."""

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader

from schemas.codec import SchemaError

ReadAvro = Callable[[bytes], Any]


def compile_reader(text: str) -> ReadAvro:
    """Reads data of this schema; what it returns raises `SchemaError`. Raises it, too, for what is no schema.

    Refused are schemas with which a few bytes could fill the memory or end the process: fastavro counts neither the
    elements of an array that take no bytes nor how deep it reads a type that holds itself.
    """
    names: dict[str, Any] = {}
    try:
        schema = parse_schema(json.loads(text), named_schemas=names)
        _is_empty(schema, names, frozenset())
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


def _is_empty(schema: Any, names: Mapping[str, Any], within: frozenset[str]) -> bool:
    """Can a value of it take no bytes? Raises `SchemaError` for what is refused. `within`: types that are open."""
    match schema:
        case str() if schema in names:
            if schema in within:
                raise SchemaError(f"its type {schema} holds itself, which is not read")
            return _is_empty(names[schema], names, within)
        case str():
            return schema == "null"
        case list():
            _are_empty(schema, names, within)  # never: which of them it is takes a byte
        case {"type": "record" | "error", "name": str(name), "fields": fields}:
            return _are_empty([field["type"] for field in fields], names, within | {name})
        case {"type": "array", "items": inner}:
            if _is_empty(inner, names, within):
                raise SchemaError("it has an array of what takes no bytes, which is not read")
        case {"type": "map", "values": inner}:
            _is_empty(inner, names, within)
        case {"type": "fixed", "size": size}:
            return bool(size == 0)
    return False


def _are_empty(schemas: Sequence[Any], names: Mapping[str, Any], within: frozenset[str]) -> bool:
    """All of them? Each is looked at."""
    return all([_is_empty(each, names, within) for each in schemas])  # noqa: C419 - also behind one that is not empty
