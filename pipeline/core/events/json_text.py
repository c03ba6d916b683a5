"""The definition of JSON for every entrance: request bodies, payloads over HTTP, records and payloads over Kafka.

RFC 8259 by its grammar, in UTF-8 without a byte order mark, nested at most `DEPTH_MAX` deep. JSON is delivered byte for
byte and no number in it is computed with: `1e400` and repeated names are JSON, `NaN` and lone surrogates are not.
"""

from functools import lru_cache
from itertools import accumulate

import msgspec

DEPTH_MAX = 512
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
NEITHER = bytes(set(range(256)) - set(b'[]{}"'))
ALIKE = bytes.maketrans(b"{}", b"[]")
STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # down and up, as signed bytes
FEW, SHORTER = 4096, 0.75

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
    """How deep a text nests. Of one whose brackets do not match, which is no JSON, one more at most."""
    if b"\\" in text:
        # a backslash before a quote escapes it when it is left after pairs of backslashes are gone
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if text.count(b'"') > FEW:
        # neither what is no bracket nor two quotes with nothing between them change what is in a string
        text = text.translate(None, NEITHER).replace(b'""', b"")
    brackets = b"".join(text.split(b'"')[::2]).translate(ALIKE, NOT_BRACKETS)  # every other part is in a string
    # Pairs with nothing inside are the deepest ones: without them it nests one less. A call takes them away in a
    # fifth of the time that counting takes, which for millions of brackets is noticed by others.
    levels = 0
    while len(brackets) > FEW:
        outer = brackets.replace(b"[]", b"")
        if len(outer) > len(brackets) * SHORTER:
            break
        brackets, levels = outer, levels + 1
    return levels + max(accumulate(memoryview(brackets.translate(STEPS)).cast("b")), default=0)


@lru_cache(maxsize=64)
def _explain(message: str) -> str:
    # msgspec says the same of a text that ends too early and of an escaped lone surrogate
    return "it ends too early, or has a lone surrogate" if message == "Input data was truncated" else message
