"""The definition of JSON for every entrance: request bodies, payloads over HTTP, records and payloads over Kafka.

RFC 8259 by its grammar, in UTF-8 without a byte order mark, nested at most `DEPTH_MAX` deep. JSON is delivered byte for
byte and no number in it is computed with: `1e400` and repeated names are JSON, `NaN` and lone surrogates are not.
"""

import re
from functools import lru_cache

import msgspec

DEPTH_MAX = 512
ESCAPE = re.compile(rb"\\.", re.DOTALL)
STRING = re.compile(rb'"[^"]*"')
OPENING = frozenset(b"[{")
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_decode = msgspec.json.Decoder(msgspec.Raw).decode


def find_json_problem(text: bytes) -> str | None:
    """Why `text` is not JSON, as the end of a sentence; None: it is."""
    # most texts have fewer brackets than the depth they may have
    if text.count(b"[") + text.count(b"{") > DEPTH_MAX and _measure_depth(text) > DEPTH_MAX:
        return f"is nested more than {DEPTH_MAX} deep"
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            return f"is not UTF-8 at byte {error.start}"
    try:
        _decode(text)
    except RecursionError:
        return f"is nested more than {DEPTH_MAX} deep"
    except msgspec.DecodeError as error:
        return f"is not JSON: {_explain(str(error))}"
    return None


def _measure_depth(text: bytes) -> int:
    """How deep a text nests; counting stops one level beyond the limit."""
    if b"\\" in text:
        text = ESCAPE.sub(b"", text)
    depth = deepest = 0
    for bracket in STRING.sub(b"", text).translate(None, NOT_BRACKETS):
        depth += 1 if bracket in OPENING else -1
        if depth > deepest:
            deepest = depth
            if deepest > DEPTH_MAX:
                break
    return deepest


@lru_cache(maxsize=64)
def _explain(message: str) -> str:
    # msgspec says the same of a text that ends too early and of an escaped lone surrogate
    return "it ends too early, or has a lone surrogate" if message == "Input data was truncated" else message
