"""The definition of JSON for every entrance: request bodies, payloads over HTTP, records and payloads over Kafka.

RFC 8259 by its grammar, in UTF-8 without a byte order mark, nested at most `DEPTH_MAX` deep. JSON is delivered byte for
byte and no number in it is computed with: `1e400` and repeated names are JSON, `NaN` and lone surrogates are not.
"""

from functools import lru_cache
from itertools import accumulate
from operator import add

import msgspec

DEPTH_MAX = 512
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
NEITHER = bytes(set(range(256)) - set(b'[]{}"'))
ALIKE = bytes.maketrans(b"{}", b"[]")
FEW, SHORTER = 4096, 0.75
# Eight brackets in a byte, "[" a set bit and the first one the highest: how much deeper it is behind them, as a signed
# byte, and how much at most within them.
AS_BITS = bytes.maketrans(b"[]", b"10")
STEPS = [[1 if byte >> bit & 1 else -1 for bit in range(7, -1, -1)] for byte in range(256)]
NET = bytes(sum(steps) & 0xFF for steps in STEPS)
PEAK = bytes(max(accumulate(steps, initial=0)) for steps in STEPS)

_decode = msgspec.json.Decoder(msgspec.Raw).decode


def find_json_problem(text: bytes) -> str | None:
    """Why `text` is not JSON, as the end of a sentence; None: it is."""
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
    # of JSON alone: what is none is mostly found out at its first bytes. Most texts have fewer brackets than the depth
    # they may have.
    if text.count(b"[") + text.count(b"{") > DEPTH_MAX and _measure_depth(text) > DEPTH_MAX:
        return f"is nested more than {DEPTH_MAX} deep"
    return None


def _measure_depth(text: bytes) -> int:
    """How deep a JSON text nests."""
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
    packed = _pack(brackets)
    depths = accumulate(memoryview(packed.translate(NET)).cast("b"), initial=0)
    return levels + max(map(add, depths, packed.translate(PEAK)), default=0)


def _pack(brackets: bytes) -> bytes:
    """Eight brackets in a byte; the last one is filled up with closing ones."""
    count = -(-len(brackets) // 8)
    return int(brackets.translate(AS_BITS).ljust(8 * count, b"0") or b"0", 2).to_bytes(count, "big")


@lru_cache(maxsize=64)
def _explain(message: str) -> str:
    # msgspec says the same of a text that ends too early and of an escaped lone surrogate
    return "it ends too early, or has a lone surrogate" if message == "Input data was truncated" else message
