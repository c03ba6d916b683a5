"""JSON Schema of an event type: what its payloads have to be. Pure.

The size of a schema is bounded, and what it may cost with a payload as well: references are followed when it is read,
within itself alone and not in a circle; patterns take linear time. The library checks the rest (2020-12 and draft 7).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import jsonschema_rs
import msgspec
import orjson

from pipeline.core.events.content_types import JSON_TYPE

Mode = Literal["off", "warn", "refuse"]
MODES: tuple[Mode, ...] = ("off", "warn", "refuse")
TEXT_MAX_BYTES = 16 * 1024
# values in the schema, with what its references refer to in their places
WEIGHT_MAX = 2_000
DEPTH_MAX = 32
# weight times values of the payload, and patterns times its bytes: about a tenth of a second of one core at worst
COST_MAX = 2_000_000
PROBLEM_MAX_CHARS = 300
DIALECTS: dict[str, Callable[..., Any]] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
}
NEWEST = next(iter(DIALECTS))
# what refers to more than a place within the schema, or makes such places
UNSUPPORTED = frozenset(("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$vocabulary"))
WITH_PATTERNS = frozenset(("pattern", "patternProperties", "format"))
PATTERN_BYTES_MAX = 1_000_000
INDEX = re.compile("0|[1-9][0-9]{0,5}")


class PayloadSchemaError(ValueError):
    """The fault of a schema, as a sentence without its subject."""


@dataclass(frozen=True, slots=True)
class PayloadSchema:
    """A schema that was read."""

    validator: Any
    weight: int
    patterns: int

    def find_problem(self, payload: bytes, content_type: str) -> str | None:
        """Why the payload does not fit, as a sentence without its subject, without its values; None: it does."""
        if content_type != JSON_TYPE:
            return f"is no {JSON_TYPE}"
        values = payload.count(b",") + payload.count(b"[") + payload.count(b"{") + 1
        if self.weight * values + self.patterns * len(payload) > COST_MAX:
            return f"is too large to be checked: it has {len(payload)} bytes"
        try:
            self.validator.validate(orjson.loads(payload))
        except orjson.JSONDecodeError:
            return "cannot be read"
        except jsonschema_rs.ValidationError as error:
            return f"does not fit {_describe(error)}"
        return None


def read_schema(text: str | bytes) -> PayloadSchema:
    """Raises `PayloadSchemaError`."""
    if len(text) > TEXT_MAX_BYTES:
        raise PayloadSchemaError(f"has more than {TEXT_MAX_BYTES} bytes")
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadSchemaError(f"is no JSON: {error}") from None
    if not isinstance(schema, dict | bool):
        raise PayloadSchemaError("must be an object, true or false")
    dialect = schema.get("$schema", NEWEST) if isinstance(schema, dict) else NEWEST
    make = DIALECTS.get(dialect.rstrip("#")) if isinstance(dialect, str) else None
    if make is None:
        raise PayloadSchemaError(f"has a `$schema` that is none of {', '.join(DIALECTS)}")
    measure = Measure(schema)
    measure.add(schema, ())
    options = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES_MAX, dfa_size_limit=PATTERN_BYTES_MAX)
    try:
        validator = make(schema, mask="it", offline=True, pattern_options=options)
    except jsonschema_rs.ValidationError as error:
        raise PayloadSchemaError(f"is no JSON Schema: {_describe(error)}") from None
    except (jsonschema_rs.ReferencingError, ValueError, RecursionError) as error:
        raise PayloadSchemaError(f"is no JSON Schema: {str(error)[:PROBLEM_MAX_CHARS]}") from None
    return PayloadSchema(validator, measure.weight, measure.patterns)


class Measure:
    """Counts the values and patterns of a schema, each reference as what it refers to."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self.weight = 0
        self.patterns = 0

    def add(self, node: Any, within: tuple[str, ...], depth: int = 0) -> None:
        """`within`: the references on the way to this place. Raises `PayloadSchemaError`."""
        self.weight += 1
        if self.weight > WEIGHT_MAX:
            raise PayloadSchemaError(f"has more than {WEIGHT_MAX} values, its references followed")
        if depth > DEPTH_MAX:
            raise PayloadSchemaError(f"is nested more than {DEPTH_MAX} deep, its references followed")
        if isinstance(node, list):
            for item in node:
                self.add(item, within, depth + 1)
        if isinstance(node, dict):
            self._add_object(node, within, depth)

    def _add_object(self, node: Mapping[str, Any], within: tuple[str, ...], depth: int) -> None:
        unsupported = UNSUPPORTED & node.keys()
        if unsupported or ("$id" in node and node is not self._root):
            raise PayloadSchemaError(f"has `{min(unsupported, default='$id')}`, which is not supported")
        self.patterns += len(WITH_PATTERNS & node.keys())
        for inner in node.values():
            self.add(inner, within, depth + 1)
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in within:
                raise PayloadSchemaError(f"refers to itself by {reference[:PROBLEM_MAX_CHARS]!r}")
            self.add(self._find(reference), (*within, reference), depth + 1)

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#") or (reference != "#" and not reference.startswith("#/")):
            raise PayloadSchemaError(
                f"refers to {reference[:PROBLEM_MAX_CHARS]!r}, which is no place within it (`#/…`)"
            )
        found = self._root
        for part in reference.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and INDEX.fullmatch(name) and int(name) < len(found):
                found = found[int(name)]
            else:
                raise PayloadSchemaError(f"refers to {reference[:PROBLEM_MAX_CHARS]!r}, where nothing is")
        return found


def _describe(error: jsonschema_rs.ValidationError) -> str:
    """The rule that failed and its place; payload values are left out, since they may be confidential."""
    place = "".join(f"/{part}" for part in error.instance_path)
    return f"at {place or 'its root'}: {error.message}"[:PROBLEM_MAX_CHARS]
