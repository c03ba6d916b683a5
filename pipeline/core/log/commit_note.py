"""The note in a commit's metadata: which offsets beyond the watermark are completed, and how far attempts were seen.

Kafka keeps 4,096 bytes of it. Form: `1;<attempts offset>;<base64 of varints>`, the varints being, in turn, how many
offsets are open and how many are completed, from the watermark on.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

METADATA_MAX_BYTES = 4096
VERSION = "1"
# the topic's id and its mark (23 bytes), version, attempts offset (19 digits) and separators
_HEAD_MAX_BYTES = 64
_VARINTS_MAX_BYTES = (METADATA_MAX_BYTES - _HEAD_MAX_BYTES) * 3 // 4

Range = tuple[int, int]  # first offset, one past the last


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitNote:
    """`done`: completed ranges; `attempts_offset`: attempts before it are settled by this commit, None: not known."""

    done: tuple[Range, ...] = ()
    attempts_offset: int | None = None


def fits(watermark: int, done: Sequence[Range]) -> bool:
    """Do all of these ranges go into one note?"""
    return len(_pack(watermark, done)) <= _VARINTS_MAX_BYTES


def format_note(watermark: int, note: CommitNote) -> str:
    """The note as metadata. Ranges that do not fit are left out, from the end."""
    packed = _pack(watermark, note.done)
    if len(packed) > _VARINTS_MAX_BYTES:
        packed = b""
        for piece in _pack_pieces(watermark, note.done):
            if len(packed) + len(piece) > _VARINTS_MAX_BYTES:
                break
            packed += piece
    seen = "" if note.attempts_offset is None else str(note.attempts_offset)
    return f"{VERSION};{seen};{base64.b64encode(packed).decode()}"


def parse_note(watermark: int, metadata: str | None) -> CommitNote:
    """The note of a commit at `watermark`. An unreadable note counts as none: more is repeated, nothing is lost."""
    version, _, rest = (metadata or "").partition(";")
    seen, _, encoded = rest.partition(";")
    if version != VERSION:
        return CommitNote()
    try:
        numbers = list(_unpack(base64.b64decode(encoded, validate=True)))
        attempts_offset = int(seen) if seen else None
    except (binascii.Error, ValueError, IndexError):
        return CommitNote()
    ranges = []
    at = watermark
    for opened, completed in zip(numbers[::2], numbers[1::2], strict=False):
        ranges.append((at + opened, at + opened + completed))
        at += opened + completed
    return CommitNote(done=tuple(ranges), attempts_offset=attempts_offset)


def _pack(watermark: int, done: Iterable[Range]) -> bytes:
    return b"".join(_pack_pieces(watermark, done))


def _pack_pieces(watermark: int, done: Iterable[Range]) -> Iterator[bytes]:
    at = watermark
    for first, end in done:
        yield _to_varint(first - at) + _to_varint(end - first)
        at = end


def _to_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _unpack(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            continue
        yield number
        number = shift = 0
