"""Cases of JSON, by RFC 8259: JSONTestSuite's, and deep nesting, which its cases leave to be made by code."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATA = Path(__file__).parent / "json-parsing.jsonl"


@dataclass(frozen=True, slots=True)
class JsonCase:
    """`expect`: `either` leaves it to the parser."""

    name: str
    text: bytes
    expect: Literal["accept", "refuse", "either"]


def list_json_cases(*, depth_max: int) -> list[JsonCase]:
    """All of them."""
    lines = [json.loads(line) for line in DATA.read_text().splitlines()]
    cases = [JsonCase(line["name"], base64.b64decode(line["bytes"]), line["expect"]) for line in lines]
    return [
        *cases,
        JsonCase("deepest arrays", b"[" * depth_max + b"]" * depth_max, "accept"),
        JsonCase("deepest objects", b'{"a":' * depth_max + b"1" + b"}" * depth_max, "accept"),
        JsonCase("too deep arrays", b"[" * (depth_max + 1) + b"]" * (depth_max + 1), "refuse"),
        JsonCase("too deep, mixed", b'[{"a":' * depth_max + b"1" + b"}]" * depth_max, "refuse"),
        JsonCase("open without end", b"[" * 100_000, "refuse"),
        JsonCase("open objects without end", b'{"":' * 50_000, "refuse"),
        JsonCase("flat with many brackets", b"[" + b",".join([b"[]"] * 5000) + b"]", "accept"),
        JsonCase("brackets in strings", b'["' + b"[" * 5000 + rb"\"[{" + b'"]', "accept"),
        JsonCase("backslashes before brackets", b'["' + rb"\\" * 700 + b'",["[' * 1 + b'[" ]' + b"]", "accept"),
        JsonCase("1e400", b"[1e400, -1e400, 1e-400]", "accept"),
        JsonCase("NaN", b"[NaN]", "refuse"),
        JsonCase("Infinity", b"[-Infinity]", "refuse"),
        JsonCase("a byte order mark", b"\xef\xbb\xbf{}", "refuse"),
        JsonCase("UTF-16", "{}".encode("utf-16"), "refuse"),
        JsonCase("repeated names", b'{"a":1,"a":2}', "accept"),
        JsonCase("an escaped NUL", rb'["\u0000"]', "accept"),
        JsonCase("a lone surrogate", rb'["\ud800"]', "refuse"),
    ]
