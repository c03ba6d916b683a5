"""Record batches as they lie in a log (format 2), checked against their checksum, their neighbours and the log's end.

A batch's checksum covers what follows it; base offset, length and format stand before it and may be wrong as well.
"""

import struct
from typing import NamedTuple

from aiokafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
BEFORE_LENGTH_BYTES = 12  # of what a batch's length does not count
CHECKED_FROM = 21
MAGIC_AT = 16
MAGIC = 2


class Batch(NamedTuple):
    """A batch at the byte `at`, with the offsets from `begin` to before `end`."""

    at: int
    size: int
    begin: int
    end: int


class Wrong(NamedTuple):
    """A batch that cannot be read. `size`: how many bytes it claims to have."""

    reason: str
    size: int = 0


class Bad(NamedTuple):
    """Offsets from `begin` to before `end` cannot be read. `end` None: no good batch follows in what was looked at."""

    begin: int
    end: int | None
    reason: str


class Walk(NamedTuple):
    """Content of a piece of the log, in order. `end`: behind its last batch. `is_cut`: one more follows, in part."""

    found: list[Batch | Bad]
    end: int
    is_cut: bool

    @property
    def bad(self) -> list[Bad]:
        return [each for each in self.found if isinstance(each, Bad)]


def walk(data: bytes, position: int, log_end: int, *, is_whole: bool, is_boundary: bool = False) -> Walk:
    """Look at the batches in `data`, which was fetched from the offset `position` of a log that ends at `log_end`.

    The first batch may begin before `position` unless that `is_boundary` of two batches. A batch that reaches beyond
    `data` is wrong if that `is_whole`; otherwise it is not judged.
    """
    seen: list[Batch | Bad] = []
    at = 0
    while at < len(data):
        found = _read_fitting(data, at, position, log_end, may_begin_before=at == 0 and not is_boundary)
        if found is None and not is_whole:
            return Walk(seen, position, is_cut=True)
        if isinstance(found, Batch):
            at, position = at + found.size, found.end
            seen.append(found)
            continue
        found = found or Wrong("its length cannot be right")
        good = _find_good(data, at, found, position, log_end)
        if good is None or good.begin > position:
            seen.append(Bad(position, good.begin if good is not None else None, found.reason))
        if good is None:
            return Walk(seen, position, is_cut=False)
        at, position = good.at, good.begin
    return Walk(seen, position, is_cut=False)


def read_batch(data: bytes, at: int) -> Batch | Wrong | None:
    """The batch at a byte. None: it is longer than `data`, so nothing is known about it."""
    if at + HEADER.size > len(data):
        return None
    begin, length, _, magic, crc, _, last_delta, *_ = HEADER.unpack_from(data, at)
    size = length + BEFORE_LENGTH_BYTES
    if magic != MAGIC:
        return Wrong(f"it is of format {magic}", size)
    if size < HEADER.size:
        return Wrong(f"it claims to have {size} bytes", size)
    if at + size > len(data):
        return None
    if calc_crc32c(memoryview(data)[at + CHECKED_FROM : at + size]) != crc:
        return Wrong("its checksum does not fit", size)
    return Batch(at, size, begin, begin + last_delta + 1)


def _read_fitting(data: bytes, at: int, position: int, log_end: int, *, may_begin_before: bool) -> Batch | Wrong | None:
    """Read the batch at a byte, and check that it belongs at this place in the log."""
    found = read_batch(data, at)
    if not isinstance(found, Batch):
        return found
    if found.end <= position or (found.begin < position and not may_begin_before) or found.end > log_end:
        return Wrong(f"it claims offsets {found.begin} to {found.end - 1}", found.size)
    if _is_too_far_on(data, found, position, log_end):
        return Wrong(f"it claims offsets {found.begin} to {found.end - 1}", found.size)
    return found


def _is_too_far_on(data: bytes, batch: Batch, position: int, log_end: int) -> bool:
    """Has the next batch offsets that this one claims, and is it this one that is wrong?"""
    at = batch.at + batch.size
    following = read_batch(data, at)
    if not isinstance(following, Batch) or not position <= following.begin < batch.end:
        return False
    if batch.begin >= position:
        return batch.begin > position  # else it follows what was before, and the next one is wrong
    third = read_batch(data, at + following.size)
    return following.end == (third.begin if isinstance(third, Batch) else log_end)


def _find_good(data: bytes, at: int, wrong: Wrong, position: int, log_end: int) -> Batch | None:
    """The first good batch behind a bad one: where that claims to end, or wherever one is found."""
    claimed = at + wrong.size
    if wrong.size >= HEADER.size and (batch := _read_later(data, claimed, position, log_end)) is not None:
        return batch
    magic_at = at + MAGIC_AT
    while (magic_at := data.find(MAGIC, magic_at + 1)) >= 0:
        if (batch := _read_later(data, magic_at - MAGIC_AT, position, log_end)) is not None:
            return batch
    return None


def _read_later(data: bytes, at: int, position: int, log_end: int) -> Batch | None:
    """A batch with offsets from `position` on."""
    if at + HEADER.size > len(data):
        return None
    begin, length, *_ = HEADER.unpack_from(data, at)
    if not (position <= begin < log_end and length > 0):
        return None  # most candidates end here, without a checksum
    found = read_batch(data, at)
    return found if isinstance(found, Batch) and found.end <= log_end else None
