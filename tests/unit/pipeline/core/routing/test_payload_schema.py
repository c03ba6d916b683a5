"""JSON Schema of event types: what fits, what is refused as a schema, and what it can cost."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.content_types import JSON_TYPE, TEXT_TYPE
from pipeline.core.routing.payload_schema import PayloadSchemaError, read_schema
from pipeline.core.routing.routes import AppliedRoutes, RoutesHistory, TypeSchema

INVOICE = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "lines": {"items": {"$ref": "#/$defs/line"}}},
    "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"pattern": "^[A-Z]+$"}}}},
}
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text('aé"\\,[{', max_size=4)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab", max_size=2), inner))


def read(schema: Any) -> Any:
    return read_schema(json.dumps(schema))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ('{"id": 1}', None),
        ('{"id": 1, "lines": [{"sku": "A"}]}', None),
        ("{}", 'does not fit at its root: "id" is a required property'),
        ('{"id": "hush"}', 'does not fit at /id: it is not of type "integer"'),
        (
            '{"id": 1, "lines": [{"sku": "A"}, {"sku": "hush"}]}',
            'does not fit at /lines/1/sku: it does not match "^[A-Z]+$"',
        ),
        ("[", "cannot be read"),
    ],
)
def test_a_payload_that_does_not_fit_is_told_where(payload: str, problem: str | None) -> None:
    """The place and the rule; never a value of the payload, which may be secret."""
    assert problem == read(INVOICE).find_problem(payload.encode(), JSON_TYPE)


def test_what_is_no_json_does_not_fit() -> None:
    """A payload of another content type does not fit, even if it could be read as JSON."""
    assert "is no application/json" == read(True).find_problem(b"1", TEXT_TYPE)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "must be an object, true or false"),
        ({"type": "strange"}, "is no JSON Schema: at /type"),
        ({"pattern": "("}, 'is no JSON Schema: at /pattern: it is not a "regex"'),
        ({"pattern": "(?=a)b"}, "is no JSON Schema: at /pattern"),
        ({"pattern": "a{1000}{1000}"}, "is no JSON Schema: at /pattern"),
        ({"$schema": "https://example.com/own"}, "has a `$schema` that is none of"),
        ({"$ref": "https://example.com/x.json"}, "is no place within it"),
        ({"$ref": "file:///etc/passwd"}, "is no place within it"),
        ({"$ref": "#/$defs/none"}, "where nothing is"),
        ({"$ref": "#"}, "refers to itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
        ({"$dynamicRef": "#a"}, "has `$dynamicRef`"),
        ({"items": {"$id": "https://example.com/x"}}, "has `$id`"),
        ({"items": {"$anchor": "x"}}, "has `$anchor`"),
        ({"enum": [0] * 3000}, "has more than 2000 values"),
        ({"description": "x" * 17_000}, "has more than 16384 bytes"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: Any, problem: str) -> None:
    """A schema that would fetch something, or cost without a bound, is refused as well."""
    with pytest.raises(PayloadSchemaError, match=re.escape(problem)):
        read(schema)


def test_references_that_multiply_are_counted() -> None:
    """Ten references to two each are a thousand schemas."""
    nested: Any = {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(10)}}
    nested["$defs"]["d10"] = {}
    nested["$ref"] = "#/$defs/d0"
    with pytest.raises(PayloadSchemaError, match="has more than 2000 values"):
        read(nested)


def test_what_would_take_too_long_is_not_begun() -> None:
    """A payload is looked at as long as schema and payload together are small; else it does not fit."""
    schema = read({"items": {"allOf": [{"minimum": number} for number in range(100)]}})
    fits, does_not = json.dumps([200] * 4000).encode(), json.dumps([200] * 40_000).encode()

    assert schema.find_problem(fits, JSON_TYPE) is None
    assert "is too large to be checked" in str(schema.find_problem(does_not, JSON_TYPE))


def test_what_is_evaluated_again_is_counted() -> None:
    """Ten `unevaluatedProperties` within each other would be evaluated thousands of times; two or three are usual."""

    def nest(times: int) -> Any:
        schema: Any = {"properties": {"a": {"type": "integer"}}}
        for _ in range(times):
            schema = {"allOf": [schema], "unevaluatedProperties": {"type": "string"}}
        return schema

    assert read(nest(3)).find_problem(b'{"a": 1, "b": "x"}', JSON_TYPE) is None
    with pytest.raises(PayloadSchemaError, match="has more than 2000 values"):
        read(nest(10))


@pytest.mark.parametrize("branching", ["anyOf", "oneOf"])
def test_a_misfit_in_branches_is_described_while_it_is_small(branching: str) -> None:
    """The library makes an error for each value of each branch: of a hundred thousand they would take seconds."""
    each_item, long_text = (
        read({branching: [{"items": {"type": "integer"}}, {"type": "object"}]}),
        read({"$defs": {"no": {branching: [{"type": "integer"}] * 300}}, "$ref": "#/$defs/no"}),
    )

    assert "any of the schemas listed" in str(each_item.find_problem(b'["a"]', JSON_TYPE))
    assert "any of the schemas listed" in str(long_text.find_problem(b'"a"', JSON_TYPE))
    too_large = "does not fit (it is too large to say where)"
    assert too_large == each_item.find_problem(json.dumps(["a"] * 100_000).encode(), JSON_TYPE)
    assert too_large == long_text.find_problem(json.dumps("a" * 600_000).encode(), JSON_TYPE)
    assert each_item.find_problem(json.dumps([1] * 100_000).encode(), JSON_TYPE) is None


def test_slow_remainders_are_counted() -> None:
    """A remainder by a fraction is exact: numbers with exponents, and tiny divisors, make it slow."""
    schema = read({"items": {"multipleOf": 0.01}})

    assert schema.find_problem(json.dumps([12.34] * 10_000).encode(), JSON_TYPE) is None
    assert "too large to be checked" in str(schema.find_problem(b"[" + b"1e308," * 10_000 + b"1]", JSON_TYPE))
    with pytest.raises(PayloadSchemaError, match="has a `multipleOf` of less than"):
        read({"multipleOf": 1e-300})


def test_an_older_dialect_can_be_named() -> None:
    """Draft 7 has `items` as a list, 2020-12 does not know that form."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}

    assert read(schema).find_problem(b"[1]", JSON_TYPE) is None
    assert "at /0" in str(read(schema).find_problem(b'["a"]', JSON_TYPE))


@given(VALUES)
def test_any_schema_is_read_or_refused(schema: Any) -> None:
    """Any JSON is read as a schema or refused, with no other exception; and so are payloads."""
    try:
        found = read(schema)
    except PayloadSchemaError:
        return
    found.find_problem(json.dumps(schema).encode(), JSON_TYPE)


def test_each_version_has_the_schema_it_had() -> None:
    """A change applies from its version on; one that is not looked at, or cannot be read, asks for nothing."""
    history = RoutesHistory()
    history.put_type("a.b.c", 1)
    history.put_type("a.b.c", 2, TypeSchema(json.dumps(INVOICE), "refuse", 1))
    history.put_type("a.b.c", 3, TypeSchema(json.dumps(INVOICE), "refuse", 1))
    history.put_type("a.b.c", 4, TypeSchema("true", "warn", 2))
    history.put_type("a.b.c", 5, TypeSchema("true", "off", 2))
    history.put_type("a.b.c", 6, TypeSchema('{"of": "tomorrow"', "refuse", 3))

    def find(version: int) -> tuple[int, bool] | None:
        found = AppliedRoutes(history, version, deleted=False).find_schema("a.b.c")
        return (found.version, found.refuses) if found is not None else None

    assert [None, (1, True), (1, True), (2, False), None, None] == [find(version) for version in range(1, 7)]
    assert all(history.has_type("a.b.c", version) for version in range(1, 7))
    history.forget_before(6)
    assert [None, None] == [find(4), find(6)]
    assert history.has_type("a.b.c", 6)


def test_patterns_that_a_search_is_long_at_are_counted() -> None:
    """A pattern counts as often as a search may be at places of it, and each name of `patternProperties`."""
    wide, names = read({"pattern": "a[ab]{900}c"}), read({"patternProperties": {f"^{n}$": {} for n in range(100)}})
    narrow = read({"pattern": "^[a-z]{1,900}$"})
    short, long = json.dumps("a" * 2_000).encode(), json.dumps("a" * 100_000).encode()

    assert "does not match" in str(wide.find_problem(short, JSON_TYPE))
    assert "is too large to be checked" in str(wide.find_problem(long, JSON_TYPE))
    assert "does not match" in str(narrow.find_problem(long, JSON_TYPE))
    assert names.find_problem(short, JSON_TYPE) is None
    assert "is too large to be checked" in str(names.find_problem(long, JSON_TYPE))


def test_patterns_share_what_they_are_compiled_to() -> None:
    """One pattern of 0.9 MB, or hundreds of small ones; hundreds of large ones took seconds and 0.5 GB."""
    large = r"\p{L}{20}"

    assert read({"pattern": large}).find_problem(b'"a"', JSON_TYPE) is not None
    assert read({"allOf": [{"pattern": f"^[a-z]+{n}$"} for n in range(500)]}) is not None
    with pytest.raises(PayloadSchemaError, match="at /allOf/0/pattern"):
        read({"allOf": [{"pattern": f"{large}{n}"} for n in range(500)]})
