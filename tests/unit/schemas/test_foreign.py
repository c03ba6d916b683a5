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
    """Two schemas may give one name to different types."""
    other = {"type": "record", "name": "Order", "fields": [{"name": "n", "type": "int"}]}
    order = {"id": "a", "lines": [1, 2], "paid": None}

    assert order == compile_reader(json.dumps(ORDER))(write(ORDER, order))
    assert {"n": 3} == compile_reader(json.dumps(other))(write(other, {"n": 3}))


@given(st.binary(max_size=200))
def test_other_bytes_are_a_schema_error(data: bytes) -> None:
    """Other bytes raise no other exception."""
    read = compile_reader(json.dumps(ORDER))
    try:
        found = read(data)
    except SchemaError:
        return

    assert {"id", "lines", "paid"} == found.keys()


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


HOLLOW = [{"name": "n", "type": "int"}, *({"name": f"f{number}", "type": "null"} for number in range(101))]


def nest(depth: int) -> Any:
    """A record of two records of two records, down to one without fields: 2^depth parts without a byte."""
    schema: Any = {"type": "record", "name": "r0", "fields": []}
    for number in range(1, depth):
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"r{number - 1}"}]
        schema = {"type": "record", "name": f"r{number}", "fields": fields}
    return schema


def test_types_of_other_schemas() -> None:
    """References are read before what names them, with their names as they are."""
    money = {"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
    line = {"type": "record", "name": "shop.Line", "fields": [{"name": "price", "type": "shop.Money"}]}
    bill = {
        "type": "record",
        "name": "Bill",
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": "shop.Line"}},
            {"name": "total", "type": "shop.Money"},
        ],
    }
    value = {"lines": [{"price": {"cents": 3}}, {"price": {"cents": 4}}], "total": {"cents": 7}}
    named: dict[str, Any] = {}
    for each in (money, line):
        parse_schema(each, named_schemas=named)
    out = BytesIO()
    schemaless_writer(out, parse_schema(bill, named_schemas=named), value)
    references = [json.dumps(money), json.dumps(line)]

    assert value == compile_reader(json.dumps(bill), references=references)(out.getvalue())
    with pytest.raises(SchemaError, match="no Avro schema"):
        compile_reader(json.dumps(bill), references=references[:1])
    hollow = json.dumps({"type": "record", "name": "shop.Money", "fields": []})
    with pytest.raises(SchemaError, match="takes no bytes"):
        compile_reader(json.dumps({"type": "array", "items": "shop.Money"}), references=[hollow])


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
        (json.dumps({"type": "array", "items": {"type": "record", "name": "a", "fields": HOLLOW}}), "take no bytes"),
        (json.dumps({"type": "map", "values": {"type": "record", "name": "a", "fields": HOLLOW}}), "take no bytes"),
        (json.dumps(nest(40)), "parts"),
        ("[" * 100_000, "no Avro schema"),
    ],
)
def test_refused_schemas(schema: str, said: str) -> None:
    """Texts that are no schema are refused, and schemas with which a few bytes could fill the memory or the stack."""
    with pytest.raises(SchemaError, match=said):
        compile_reader(schema)
