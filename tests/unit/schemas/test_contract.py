"""Equality of record classes, Avro schemas and examples, and of the versions of each among themselves."""

import json
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO, StringIO
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import avro.io
import avro.schema
import msgspec
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from fastavro import json_reader, schemaless_reader

import schemas
from pipeline.core.events.claim_check import CLAIM_CHECKS_SINCE, writes_claim_checks
from pipeline.core.events.records import (
    CLASSES,
    NAMES,
    Bundle,
    Delivery,
    OpenRequests,
    Record,
    RecordVersionError,
    from_bytes,
    is_written,
    to_bytes,
    write_as,
)
from pipeline.topics import declare_topics
from schemas.codec import BY_HEADER, HEADER_BYTES, MARKER, NEWEST, VERSIONS, Writer

FOLDER = Path(str(files("schemas")))
WRITERS = [writer for versions in VERSIONS.values() for writer in versions]
NAMES_OF_WRITERS = [f"{writer.name} v{writer.version}" for writer in WRITERS]


def read_avsc(writer: Writer) -> str:
    return (FOLDER / writer.name / f"v{writer.version}.avsc").read_text()


def read_example(writer: Writer) -> dict[str, Any]:
    """The example of one version: Avro's JSON encoding, in which a union's value names its type."""
    text = (FOLDER / writer.name / "examples" / f"v{writer.version}.json").read_text()
    # its reader takes a record a line
    (record,) = json_reader(StringIO(json.dumps(json.loads(text))), writer.schema)
    assert isinstance(record, dict)
    return record


def list_hints(name: str) -> dict[str, str]:
    """The class' fields in Avro's words."""
    hints = get_type_hints(CLASSES[name])
    return {field: to_avro_word(hints[field]) for field in CLASSES[name].__struct_fields__}


def to_avro_word(hint: Any) -> str:
    words = {str: "string", bytes: "bytes", int: "integer", float: "double", bool: "boolean", type(None): "null"}
    if hint in words:
        return words[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(sorted(to_avro_word(each) for each in arguments))
    if origin is list:
        inner = arguments[0]
        return f"list of {'record' if get_origin(inner) is dict else to_avro_word(inner)}"
    if origin is dict and arguments[0] is str:
        return "record" if arguments[1] is Any else f"map of {to_avro_word(arguments[1])}"
    raise AssertionError(f"a type that no Avro schema has: {hint}")


def describe_type(schema: Any) -> str:
    """An Avro type in the same words."""
    match schema:
        case list():
            return " or ".join(sorted(describe_type(each) for each in schema))
        case {"type": "map", "values": values}:
            return f"map of {describe_type(values)}"
        case {"type": "array", "items": items}:
            return f"list of {describe_type(items)}"
        case {"type": "record"}:
            return "record"
        case {"type": "enum"}:
            return "string"
        case "int" | "long":
            return "integer"
        case str():
            return str(schema)
    raise AssertionError(f"a type that no record class has: {schema}")


def pairs() -> Iterator[tuple[Writer, Writer]]:
    """(older, newer or the same), of one record."""
    for versions in VERSIONS.values():
        for index, newer in enumerate(versions):
            for older in versions[: index + 1]:
                yield older, newer


def test_every_schema_has_a_class_and_a_topic() -> None:
    """A record that cannot be an object, or that no topic holds, would be dead."""
    topics = declare_topics(prefix="", partitions=1, event_retention_s=3600)

    assert set(schemas.NAMES) == CLASSES.keys()
    assert set(schemas.NAMES) == {record for topic in topics.all() for record in topic.records}


def test_every_folder_is_a_record() -> None:
    """Every schema in the folder is read."""
    assert set(schemas.NAMES) == {path.parent.name for path in FOLDER.glob("*/*.avsc")}


@pytest.mark.parametrize("name", schemas.NAMES)
def test_versions_are_counted_from_one(name: str) -> None:
    """None is missing between the first and the newest."""
    assert list(range(1, len(VERSIONS[name]) + 1)) == [writer.version for writer in VERSIONS[name]]


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_class_has_the_fields_of_its_newest_schema(name: str) -> None:
    """Fields agree by name and type; decoding fills them by name."""
    fields = json.loads(read_avsc(NEWEST[name]))["fields"]

    assert {field["name"]: describe_type(field["type"]) for field in fields} == list_hints(name)


@pytest.mark.parametrize("name", schemas.NAMES)
def test_defaults_of_class_and_schema_agree(name: str) -> None:
    """A field that an older writer left out has the value that it has when a caller leaves it out."""
    fields = json.loads(read_avsc(NEWEST[name]))["fields"]
    declared = {field["name"]: field["default"] for field in fields if "default" in field}
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(CLASSES[name]):
        if not field.required:
            given[field.name] = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()

    assert declared == {field: value.decode() if isinstance(value, bytes) else value for field, value in given.items()}


@pytest.mark.parametrize("name", schemas.NAMES)
def test_every_field_says_what_it_is(name: str) -> None:
    """Times say their unit in name and words; the schema is what other teams read."""
    schema = json.loads(read_avsc(NEWEST[name]))

    assert schema["doc"]
    for field in schema["fields"]:
        assert "doc" in field, field["name"]
        assert not field["name"].endswith("_at_us") or "microseconds since the epoch" in field["doc"], field["name"]


@pytest.mark.parametrize("writer", WRITERS, ids=NAMES_OF_WRITERS)
def test_every_version_has_an_example_that_every_newer_reader_decodes(writer: Writer) -> None:
    """Records of any version can be read for ever: with the newest schema, into today's class."""
    example = read_example(writer)
    value = writer.header + write_with_official(writer, example)
    name, fields = schemas.decode(value)
    record = from_bytes(value)

    assert writer.name == name
    assert {field: fields[field] for field in example if field in fields} == {
        field: example[field] for field in example if field in fields
    }
    assert fields == msgspec.structs.asdict(record)
    assert record == from_bytes(to_bytes(record))


@pytest.mark.parametrize("name", schemas.NAMES)
def test_the_newest_example_round_trips(name: str) -> None:
    """Encoding what was decoded gives the same bytes."""
    example = read_example(NEWEST[name])
    value = schemas.encode(name, example)

    assert (name, example) == schemas.decode(value)
    assert value == schemas.encode(*schemas.decode(value))


@pytest.mark.parametrize("name", schemas.NAMES)
def test_the_official_library_writes_the_same_bytes(name: str) -> None:
    """The quick library on the hot path and Apache's own agree, byte for byte."""
    example = read_example(NEWEST[name])

    assert write_with_official(NEWEST[name], example) == schemas.encode(name, example)[HEADER_BYTES:]


@pytest.mark.parametrize("writer", WRITERS, ids=NAMES_OF_WRITERS)
def test_the_fingerprint_is_the_specified_one(writer: Writer) -> None:
    """Single-object encoding: the marker, then CRC-64-AVRO of the canonical form, little endian."""
    canonical = avro.schema.parse(read_avsc(writer)).canonical_form.encode()

    assert MARKER + crc_64_avro(canonical).to_bytes(8, "little") == writer.header
    assert 10 == len(writer.header)


def test_no_two_schemas_share_a_fingerprint() -> None:
    """The header alone says which version of which record follows."""
    assert len(WRITERS) == len(BY_HEADER)


@pytest.mark.parametrize(
    ("older", "newer"),
    list(pairs()),
    ids=[f"{older.name} v{older.version} by v{newer.version}" for older, newer in pairs()],
)
def test_newer_schemas_read_older_ones(older: Writer, newer: Writer) -> None:
    """Avro's own library says so: a process can be updated while older records are in the log."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # the library's constructor has no types
    result = checker.get_compatibility(
        reader=avro.schema.parse(read_avsc(newer)), writer=avro.schema.parse(read_avsc(older))
    )

    assert SchemaCompatibilityType.compatible == result.compatibility, result.messages


def write_with_official(writer: Writer, fields: dict[str, Any]) -> bytes:
    out = BytesIO()
    avro.io.DatumWriter(avro.schema.parse(read_avsc(writer))).write(fields, avro.io.BinaryEncoder(out))
    return out.getvalue()


def crc_64_avro(data: bytes) -> int:
    """The fingerprint, as the Avro specification spells it out."""
    empty = 0xC15D213AA4D7A795
    table = []
    for number in range(256):
        entry = number
        for _ in range(8):
            entry = (entry >> 1) ^ (empty if entry & 1 else 0)
        table.append(entry)
    result = empty
    for byte in data:
        result = (result >> 8) ^ table[(result ^ byte) & 0xFF]
    return result


NOT_NEWEST = [writer for writer in WRITERS if writer.version < NEWEST[writer.name].version]


@pytest.mark.parametrize("writer", NOT_NEWEST, ids=[f"{each.name} v{each.version}" for each in NOT_NEWEST])
def test_a_record_is_written_for_readers_of_an_older_release(writer: Writer) -> None:
    """The older version of a record has what that version knows, and the rest reads as the default."""
    record = from_bytes(schemas.encode(writer.name, read_example(NEWEST[writer.name])))
    if isinstance(record, Delivery):
        record = msgspec.structs.replace(record, payload_offset=-1)  # a claim check is written as the newest, see below
    try:
        write_as({writer.name: writer.version})
        value = to_bytes(record)
    finally:
        write_as({writer.name: NEWEST[writer.name].version})
    old: Any = schemaless_reader(BytesIO(value[HEADER_BYTES:]), writer.schema, None)
    known = {field["name"] for field in writer.schema["fields"]}
    read = from_bytes(value)

    assert value.startswith(writer.header)
    assert old == {name: value for name, value in msgspec.structs.asdict(record).items() if name in known}
    assert msgspec.structs.asdict(read) == {
        field["name"]: old.get(field["name"], field.get("default")) for field in NEWEST[writer.name].schema["fields"]
    }


def test_a_delivery_whose_payload_is_elsewhere_is_written_as_the_newest_version() -> None:
    """An older version has no place for the event's record: its payload would be an empty one for ever."""
    delivery = from_bytes(schemas.encode("delivery", read_example(NEWEST["delivery"])))
    try:
        write_as({"delivery": CLAIM_CHECKS_SINCE - 1})
        assert not writes_claim_checks()
        assert delivery == from_bytes(to_bytes(delivery))
    finally:
        write_as({"delivery": NEWEST["delivery"].version})
    assert writes_claim_checks()


@pytest.mark.parametrize("record", [OpenRequests, Bundle])
def test_a_record_that_the_release_before_does_not_know_can_be_left_out(record: type[Record]) -> None:
    """The setting has version 0 for it; without the setting it is written again."""
    try:
        write_as({NAMES[record]: 0})
        assert not is_written(record)
    finally:
        write_as({NAMES[record]: 1})
    assert is_written(record)


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"invoice": 1}, "there is no record 'invoice'"),
        ({"event": 0}, "the record event has no version 0; known: 1, 2, 3"),
        ({"probe": 2}, "the record probe has no version 2; known: 1"),
    ],
)
def test_a_version_that_never_was_is_refused(versions: dict[str, int], said: str) -> None:
    """The refusal comes before anything is written."""
    with pytest.raises(RecordVersionError, match=said):
        write_as(versions)
