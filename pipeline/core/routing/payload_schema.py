"""JSON Schema of an event type: what its payloads have to be. Pure.

The size of a schema is bounded, and what it may cost with a payload as well: references are followed when it is read,
within itself alone and not in a circle; patterns take linear time. The library checks the rest (2020-12 and draft 7).
One check runs in the loop of a gateway or a matcher, which all applications share: `Measure` counts what the library
does more than once, or slowly.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import jsonschema_rs
import msgspec
import orjson

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.routing.pattern_width import measure_width

Mode = Literal["off", "warn", "refuse"]
TEXT_MAX_BYTES = 16 * 1024
# values in the schema, with what its references refer to in their places
WEIGHT_MAX = 2_000
DEPTH_MAX = 32
# weight times values of the payload, and widths of patterns times its bytes: about a tenth of a second of one core at
# worst
COST_MAX = 2_000_000
# What `unevaluated*` stands beside is evaluated again to know what is left, 2.6 times in all; nested ones multiply.
UNEVALUATED_FACTOR = 3
# A remainder by a fraction is computed exactly, in some 3 µs; of a number with an exponent (`1e308`) in 15.
FRACTION_WEIGHT = 50
EXPONENT_WEIGHT = 1_000
FRACTION_MIN = 1e-15  # smaller ones take longer
# Where no branch fits, the library makes an error for each (13 µs, and a copy of its value): then only of so many.
ERRORS_MAX = 5_000
ERROR_BYTES_MAX = 10_000_000
PROBLEM_MAX_CHARS = 300
DIALECTS: dict[str, Callable[..., Any]] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
}
NEWEST = next(iter(DIALECTS))
# what refers to more than a place within the schema, or makes such places
UNSUPPORTED = frozenset(("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$vocabulary"))
UNEVALUATED = frozenset(("unevaluatedProperties", "unevaluatedItems"))
BRANCHING = frozenset(("anyOf", "oneOf"))
# what applies a schema to each of any number of values
LOOPING = frozenset(
    ("items", "additionalItems", "additionalProperties", "patternProperties", "propertyNames", *UNEVALUATED)
)
PATTERN_BYTES_MAX = 1_000_000
# of all patterns of a schema: what they are compiled to (20 ms a megabyte), and what a search may note of its states
COMPILED_MAX_BYTES = 2_000_000
STATES_MAX_BYTES = 8_000_000
# A search that is at few places has few states, notes all of them, and takes 10 ns a byte. A wider one may have two to
# the power of its width, and takes 40 ns a byte for each place.
NARROW = 10
NARROW_OF_MANY = 4
MANY_PATTERNS = STATES_MAX_BYTES // PATTERN_BYTES_MAX
EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]{2}")
INDEX = re.compile("0|[1-9][0-9]{0,5}")


class PayloadSchemaError(ValueError):
    """The fault of a schema, as a sentence without its subject."""


@dataclass(frozen=True, slots=True)
class PayloadSchema:
    """A schema that was read."""

    validator: Any
    measure: "Measure"

    def find_problem(self, payload: bytes, content_type: str) -> str | None:
        """Why the payload does not fit, as a sentence without its subject, without its values; None: it does."""
        if content_type != JSON_TYPE:
            return f"is no {JSON_TYPE}"
        values = payload.count(b",") + payload.count(b"[") + payload.count(b"{") + 1
        if self.measure.estimate_cost(payload, values) > COST_MAX:
            return f"is too large to be checked: it has {len(payload)} bytes"
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return "cannot be read"
        if self.validator.is_valid(value):
            return None
        if not self.measure.is_describable(payload, values):
            return "does not fit (it is too large to say where)"
        try:
            self.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return f"does not fit {_describe(error)}"
        return None


def read_schema(text: str | bytes) -> PayloadSchema:
    """Read a JSON Schema. Raises `PayloadSchemaError`."""
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
    measure.add(schema, Place())
    try:
        validator = make(schema, mask="it", offline=True, pattern_options=measure.limit_patterns())
    except jsonschema_rs.ValidationError as error:
        raise PayloadSchemaError(f"is no JSON Schema: {_describe(error)}") from None
    except (jsonschema_rs.ReferencingError, ValueError, RecursionError) as error:
        raise PayloadSchemaError(f"is no JSON Schema: {str(error)[:PROBLEM_MAX_CHARS]}") from None
    return PayloadSchema(validator, measure)


class Place(NamedTuple):
    """Where in a schema a value stands. `references`: on the way to it; `times`: it is evaluated so often."""

    references: tuple[str, ...] = ()
    depth: int = 0
    times: int = 1
    is_in_branch: bool = False
    is_looped: bool = False  # in a branch, for each of any number of values

    def descend(self, keyword: str) -> "Place":
        """The place of a member's value."""
        is_in_branch = self.is_in_branch or keyword in BRANCHING
        is_looped = self.is_looped or (self.is_in_branch and keyword in LOOPING)
        return self._replace(depth=self.depth + 1, is_in_branch=is_in_branch, is_looped=is_looped)


class Measure:
    """Counts the values and patterns of a schema, each reference as what it refers to."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._weight = 0
        self._widths: dict[str, int] = {}
        self._searches: list[tuple[str, int]] = []  # patterns, and how often each is evaluated
        self._formats = 0
        self._fractions = 0
        self._in_branches = 0
        self._looped = 0

    def estimate_cost(self, payload: bytes, values: int) -> int:
        """The cost of a check, in `COST_MAX`'s unit. `values`: how many the payload has."""
        cost = (self._weight + self._fractions * FRACTION_WEIGHT) * values
        cost += (self._formats + self._search_weight) * len(payload)
        if self._fractions:
            cost += self._fractions * EXPONENT_WEIGHT * len(EXPONENT.findall(payload))
        return cost

    @cached_property
    def _search_weight(self) -> int:
        """The cost of all searches for a byte."""
        narrow = NARROW if len(self._widths) <= MANY_PATTERNS else NARROW_OF_MANY
        weights = {pattern: width if width > narrow else 1 for pattern, width in self._widths.items()}
        return sum(weights[pattern] * times for pattern, times in self._searches)

    def limit_patterns(self) -> jsonschema_rs.RegexOptions:
        """The bounds of what each pattern is compiled to, and of what it notes."""
        number = max(1, len(self._widths))
        return jsonschema_rs.RegexOptions(
            size_limit=min(PATTERN_BYTES_MAX, COMPILED_MAX_BYTES // number),
            dfa_size_limit=min(PATTERN_BYTES_MAX, STATES_MAX_BYTES // number),
        )

    def is_describable(self, payload: bytes, values: int) -> bool:
        """Are there few enough errors to make, should the payload not fit?"""
        return self._looped * values <= ERRORS_MAX and self._in_branches * len(payload) <= ERROR_BYTES_MAX

    def add(self, node: Any, place: Place) -> None:
        """Raises `PayloadSchemaError`."""
        self._weight += place.times
        self._in_branches += place.is_in_branch
        self._looped += place.is_looped
        if self._weight > WEIGHT_MAX:
            raise PayloadSchemaError(
                f"has more than {WEIGHT_MAX} values, its references followed, and what `unevaluated…` stands beside "
                f"counted {UNEVALUATED_FACTOR} times"
            )
        if place.depth > DEPTH_MAX:
            raise PayloadSchemaError(f"is nested more than {DEPTH_MAX} deep, its references followed")
        if isinstance(node, list):
            for item in node:
                self.add(item, place._replace(depth=place.depth + 1))
        if isinstance(node, dict):
            self._add_object(node, place)

    def _add_object(self, node: Mapping[str, Any], place: Place) -> None:
        unsupported = UNSUPPORTED & node.keys()
        if unsupported or ("$id" in node and node is not self._root):
            raise PayloadSchemaError(f"has `{min(unsupported, default='$id')}`, which is not supported")
        self._formats += "format" in node
        self._add_fraction(node.get("multipleOf"))
        if UNEVALUATED & node.keys():
            place = place._replace(times=place.times * UNEVALUATED_FACTOR)
        self._add_patterns(node.get("pattern"), place)
        self._add_patterns(node.get("patternProperties"), place)
        for name, inner in node.items():
            self.add(inner, place.descend(name))
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference in place.references:
                raise PayloadSchemaError(f"refers to itself by {reference[:PROBLEM_MAX_CHARS]!r}")
            there = place._replace(references=(*place.references, reference), depth=place.depth + 1)
            self.add(self._find(reference), there)

    def _add_patterns(self, patterns: Any, place: Place) -> None:
        """Add a pattern, or the names of an object that are patterns."""
        for pattern in [patterns] if isinstance(patterns, str) else patterns if isinstance(patterns, dict) else ():
            if pattern not in self._widths:
                try:
                    self._widths[pattern] = measure_width(pattern)
                except ValueError as error:
                    raise PayloadSchemaError(str(error)) from None
            self._searches.append((pattern, place.times))

    def _add_fraction(self, divisor: Any) -> None:
        if isinstance(divisor, float):
            self._fractions += 1
            if divisor < FRACTION_MIN:
                raise PayloadSchemaError(f"has a `multipleOf` of less than {FRACTION_MIN}")

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
