"""Avro single-object encoding: two marker bytes, the writer schema's fingerprint, the body.

Bytes as in the Avro 1.12 specification: `C3 01`, CRC-64-AVRO of the canonical form (little endian), then the datum.
A record written with an older version of its schema is read with the newest one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.writing import compile_writer

NAMES = (
    "event",
    "routes_changed",
    "dispatch",
    "delivery",
    "bundle",
    "attempt",
    "dead_letter",
    "routes",
    "routes_part",
    "routes_head",
    "endpoint",
    "endpoint_state",
    "probe",
    "republish_asked",
    "open_requests",
)
MARKER = b"\xc3\x01"
HEADER_BYTES = 10


class SchemaError(ValueError):
    """The bytes are not a record of a known schema. The message says what they looked like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """One version of one record's schema, parsed once."""

    name: str
    version: int
    schema: Any  # as fastavro parsed it
    header: bytes


def _read_versions(name: str) -> list[Writer]:
    versions = []
    for path in files("schemas").joinpath(name).iterdir():
        if path.name.endswith(".avsc"):
            raw = json.loads(path.read_text())
            crc = fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO")
            versions.append(
                Writer(
                    name=name,
                    version=int(path.name[1 : -len(".avsc")]),
                    schema=parse_schema(raw),
                    # fastavro prints the fingerprint in the order it travels in, little endian
                    header=MARKER + bytes.fromhex(crc),
                )
            )
    return sorted(versions, key=lambda writer: writer.version)


VERSIONS: dict[str, list[Writer]] = {name: _read_versions(name) for name in NAMES}
NEWEST: dict[str, Writer] = {name: versions[-1] for name, versions in VERSIONS.items()}
BY_HEADER: dict[bytes, Writer] = {writer.header: writer for versions in VERSIONS.values() for writer in versions}


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """Encode `record` with the newest schema called `name`.

    Raises `ValueError` (fastavro's) when a field is missing or of another type.
    """
    return _encode_as(NEWEST[name], record)


def list_versions(name: str) -> list[int]:
    """The versions of one record's schema, oldest first."""
    return [writer.version for writer in VERSIONS[name]]


def list_headers(name: str) -> list[bytes]:
    """The first bytes of records called `name`, by version, oldest first."""
    return [writer.header for writer in VERSIONS[name]]


def compile_encoder(
    name: str, to_mapping: Callable[[Any], Mapping[str, Any]], version: int | None = None
) -> Callable[[Any], bytes]:
    """Encodes objects that have the fields of the newest schema called `name` as attributes.

    `to_mapping`: of such an object, for schemas that can only be written from one. `version`: None for the newest;
    fields that an older one does not have are left out. Raises `KeyError` for one that there never was.
    """
    writer = NEWEST[name] if version is None else {each.version: each for each in VERSIONS[name]}[version]
    write = compile_writer(writer.header, writer.schema)
    return write if write is not None else lambda record: _encode_as(writer, to_mapping(record))


def _encode_as(writer: Writer, record: Mapping[str, Any]) -> bytes:
    out = BytesIO()
    out.write(writer.header)
    schemaless_writer(out, writer.schema, record)
    return out.getvalue()


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """Decode one record: (its name, its fields as the newest schema of that name has them).

    Raises `SchemaError` for anything else, whatever the bytes are.
    """
    header = value[:HEADER_BYTES]
    writer = BY_HEADER.get(header)
    if writer is None:
        raise SchemaError(_describe(value))
    newest = NEWEST[writer.name]
    body = BytesIO(value)
    body.seek(HEADER_BYTES)
    try:
        if newest is writer:
            fields = schemaless_reader(body, writer.schema, None)
        else:
            fields = schemaless_reader(body, writer.schema, newest.schema)
    # fastavro raises whatever its reading stumbles over: EOFError, ValueError, IndexError, UnicodeDecodeError …
    except Exception as error:
        raise SchemaError(f"a record of schema {writer.name!r} that does not decode: {type(error).__name__}") from error
    if body.tell() != len(value):
        raise SchemaError(f"a record of schema {writer.name!r} with {len(value) - body.tell()} bytes left over")
    return writer.name, fields  # type: ignore[return-value]


def _describe(value: bytes) -> str:
    if value[:2] == MARKER:
        return f"Avro single-object encoding with the unknown fingerprint {value[2:HEADER_BYTES].hex()}"
    if value[:1] == b"\x00" and len(value) > 5:
        return "it looks like the Confluent wire format, which needs a schema registry; none is configured"
    return f"neither Avro single-object encoding nor JSON; it starts with {value[:8].hex() or 'nothing'}"
