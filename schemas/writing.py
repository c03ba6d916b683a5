"""Writers compiled from schemas: an object's attributes as Avro, in half of the time that a general writer takes.

Python is generated, one expression a field, for records of texts, bytes, numbers, enums, maps, and
lists of mappings; other schemas are left to fastavro, which also is what tests compare these with.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

SMALL = 4096
NAMES_REMEMBERED, NAME_MAX_CHARS = 4096, 64
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1

Write = Callable[[Any], bytes]
# How a value of a type is written, as an expression.
SIMPLE = {
    "string": "text({})",
    "bytes": "octets({})",
    "int": "number({})",
    "long": "number({})",
    "boolean": "(yes if {} else no)",
}
MAPS = {"string": "texts({})", "long": "numbers({})"}


def compile_writer(header: bytes, schema: Mapping[str, Any]) -> Write | None:
    """Writes objects with the schema's fields as attributes, behind `header`. None: it has types not known here.

    What it returns raises `TypeError`, `AttributeError`, `KeyError`, `OverflowError` or `UnicodeEncodeError` for a
    value of another type.
    """
    names: dict[str, Any] = {
        "header": header,
        "yes": b"\x01",
        "no": b"\x00",
        "some": b"\x02",
        "join": b"".join,
        "text": write_text,
        "octets": write_octets,
        "number": write_number,
        "texts": write_texts,
        "numbers": write_numbers,
    }
    parts = []
    for field in schema["fields"]:
        written = _express(field["type"], f"record.{field['name']}", names)
        if written is None:
            return None
        parts.append(written)
    source = f"def write(record): return join((header, {', '.join(parts)},))"
    exec(source, names)  # noqa: S102 - made of our own schemas
    write: Write = names["write"]
    return write


def _express(kind: Any, value: str, names: dict[str, Any]) -> str | None:
    if isinstance(kind, str):
        form = SIMPLE.get(kind)
        return None if form is None else form.format(value)
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null":
            return None
        written = _express(kind[1], value, names)
        return None if written is None else f"(no if {value} is None else some + {written})"
    match kind["type"]:
        case "map" if kind["values"] in MAPS:
            return MAPS[kind["values"]].format(value)
        case "array" if isinstance(kind["items"], dict) and kind["items"]["type"] == "record":
            parts = [_express(field["type"], f"each[{field['name']!r}]", names) for field in kind["items"]["fields"]]
            if any(part is None for part in parts):
                return None
            items = f"[{' + '.join(map(str, parts))} for each in {value}]"
            return f"(number(len({value})) + join({items}) + no if {value} else no)"
        case "enum":
            name = f"symbols_{len(names)}"
            names[name] = {symbol: write_number(index) for index, symbol in enumerate(kind["symbols"])}
            return f"{name}[{value}]"
        case _:
            return None


def _write_long(number: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first."""
    if not LONG_MIN <= number <= LONG_MAX:
        raise OverflowError(f"{number} has more than 64 bits")
    left = (number << 1) ^ (number >> 63)
    if 1 << 49 <= left < 1 << 56:  # microseconds since the epoch, of these centuries
        return bytes(
            (
                left & 127 | 128,
                left >> 7 & 127 | 128,
                left >> 14 & 127 | 128,
                left >> 21 & 127 | 128,
                left >> 28 & 127 | 128,
                left >> 35 & 127 | 128,
                left >> 42 & 127 | 128,
                left >> 49,
            )
        )
    written = bytearray()
    while left > 127:
        written.append(left & 127 | 128)
        left >>= 7
    written.append(left)
    return bytes(written)


NUMBERS = [_write_long(number) for number in range(SMALL)]


def write_number(number: int) -> bytes:
    """An int or a long."""
    return NUMBERS[number] if 0 <= number < SMALL else _write_long(number)


def write_text(text: str) -> bytes:
    """Write the length, then UTF-8."""
    encoded = text.encode()
    length = len(encoded)
    return (NUMBERS[length] if length < SMALL else _write_long(length)) + encoded


# of headers, labels and timings, which are the same again and again
_write_name = lru_cache(NAMES_REMEMBERED)(write_text)


def write_octets(octets: bytes) -> bytes:
    """Write the number of bytes, then the bytes."""
    return write_number(len(octets)) + octets


def write_texts(texts: Mapping[str, str]) -> bytes:
    """A map of texts, in one block."""
    if not texts:
        return b"\x00"
    parts = [write_number(len(texts))]
    for name, value in texts.items():
        parts += (_write_name(name) if len(name) <= NAME_MAX_CHARS else write_text(name), write_text(value))
    parts.append(b"\x00")
    return b"".join(parts)


def write_numbers(numbers: Mapping[str, int]) -> bytes:
    """A map of longs, in one block."""
    if not numbers:
        return b"\x00"
    parts = [write_number(len(numbers))]
    for name, value in numbers.items():
        parts += (_write_name(name) if len(name) <= NAME_MAX_CHARS else write_text(name), write_number(value))
    parts.append(b"\x00")
    return b"".join(parts)
