"""The mark an event carries in its payload: when it was to be sent, and which one it is.

It stands at a fixed place, so that the receiver reads it without parsing JSON. Pure.
"""

from typing import NamedTuple

OPENING = '{"bench":"'
TIME_CHARS, STREAM_CHARS, NUMBER_CHARS = 16, 2, 9
STREAMS_MAX = 10**STREAM_CHARS
NUMBERS_MAX = 10**NUMBER_CHARS

TIME = slice(len(OPENING), len(OPENING) + TIME_CHARS)
STREAM = slice(TIME.stop + 1, TIME.stop + 1 + STREAM_CHARS)
NUMBER = slice(STREAM.stop + 1, STREAM.stop + 1 + NUMBER_CHARS)
END = NUMBER.stop  # so many bytes of a body are enough
STAMP_CHARS = END - len(OPENING)

FORMAT = b"%016d.%02d.%09d"


class Stamp(NamedTuple):
    """The mark's parts. `intended_us`: microseconds since the epoch. `number`: counted from 0 in its stream."""

    intended_us: int
    stream: int
    number: int


def format_stamp(stamp: Stamp) -> bytes:
    """The mark, as it stands between the quotes."""
    return FORMAT % stamp


def read_stamp(body: bytes) -> Stamp:
    """The mark of a body. Raises ValueError when there is none."""
    return Stamp(int(body[TIME]), int(body[STREAM]), int(body[NUMBER]))


def close_payload(payload: str) -> str:
    """The text after the mark, so that the whole is `payload`, a JSON object, with one member more."""
    if not payload.startswith("{"):
        raise ValueError("a payload must be a JSON object")
    rest = payload[1:].lstrip()
    return '"' + rest if rest == "}" else '",' + rest
