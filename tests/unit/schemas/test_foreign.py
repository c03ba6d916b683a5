import json
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas import SchemaError
from schemas.foreign import compile_reader

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": "long"}},
        {"name": "paid", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
    ],
}


def write(schema: Any, value: Any) -> bytes:
    out = BytesIO()
    schemaless_writer(out, parse_schema(schema), value)
    return out.getvalue()


def test_it_reads_what_the_schema_wrote() -> None:
    """Whatever the schema is called: two schemas may give one name to different types."""
    other = {"type": "record", "name": "Order", "fields": [{"name": "n", "type": "int"}]}
    order = {"id": "a", "lines": [1, 2], "paid": None}

    assert order == compile_reader(json.dumps(ORDER))(write(ORDER, order))
    assert {"n": 3} == compile_reader(json.dumps(other))(write(other, {"n": 3}))


@given(st.binary(max_size=200))
def test_other_bytes_are_a_schema_error(data: bytes) -> None:
    """Never another exception."""
    read = compile_reader(json.dumps(ORDER))
    try:
        found = read(data)
    except SchemaError:
        return

    assert {"id", "lines", "paid"} == found.keys()


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{", "no Avro schema"),
        ('{"type": "nothing"}', "no Avro schema"),
        ('["null"' + "," * 3, "no Avro schema"),
        (json.dumps(NODE), "holds itself"),
        (json.dumps({"type": "array", "items": "null"}), "takes no bytes"),
        (json.dumps({"type": "array", "items": {"type": "record", "name": "a", "fields": []}}), "takes no bytes"),
        (json.dumps({"type": "array", "items": {"type": "fixed", "name": "a", "size": 0}}), "takes no bytes"),
        (json.dumps({"type": "map", "values": {"type": "array", "items": "null"}}), "takes no bytes"),
        (json.dumps(["null", {"type": "array", "items": "null"}]), "takes no bytes"),
        ("[" * 100_000, "no Avro schema"),
    ],
)
def test_refused_schemas(schema: str, said: str) -> None:
    """Texts that are no schema are refused, and schemas with which a few bytes could fill the memory or the stack."""
    with pytest.raises(SchemaError, match=said):
        compile_reader(schema)
