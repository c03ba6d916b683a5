"""Is the batch at an offset damaged, and where can reading go on behind it? Judged by the log's bytes alone."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.batches import Bad, Batch, Walk, walk
from pipeline.kafka.damage.raw_log import Piece, RawLog
from pipeline.kafka.record import Place

UNREADABLE = "the broker cannot read its file here"
LOOK_BYTES = 1024 * 1024
# beyond what a batch may have by the topics' settings
BATCH_BYTES_EXTRA = 64 * 1024

Fetch = Callable[[int, int], Piece]  # by offset and bytes


class Look(NamedTuple):
    """What lies at an offset. `bad`: what cannot be read there, with an end; None: the next batch is a good one.

    All batches before `good_to` are good. The log ended at `log_end`.
    """

    bad: Bad | None
    good_to: int
    log_end: int


class Survey:
    """Blocks; for one thread. Raises `TimeoutError` when Kafka does not answer."""

    def __init__(self, config: KafkaConfig) -> None:
        self._raw = RawLog(config)
        self._batch_max_bytes = config.record_max_bytes + BATCH_BYTES_EXTRA

    def look(self, place: Place, position: int) -> Look:
        return look(lambda offset, size: self._raw.fetch(place, offset, size), position, self._batch_max_bytes)

    def each_batch(self, place: Place, begin: int, end: int) -> Iterator[bytes | Bad]:
        """Each batch from one offset to another, as its bytes, or what cannot be read of them."""
        return each_batch(lambda offset, size: self._raw.fetch(place, offset, size), begin, end, self._batch_max_bytes)

    def close(self) -> None:
        self._raw.close()


def each_batch(fetch: Fetch, begin: int, end: int, batch_max_bytes: int) -> Iterator[bytes | Bad]:
    """As `Survey.each_batch`."""
    position = begin
    while position < end:
        piece, seen = _fetch_and_walk(fetch, position, batch_max_bytes)
        before = position
        for each in seen.found:
            if each.begin >= end:
                return
            if isinstance(each, Batch):
                yield piece.data[each.at : each.at + each.size]
                position = each.end
            elif each.end is not None:
                yield each
                position = each.end
            else:
                bad = _close(fetch, each, piece.end, batch_max_bytes)
                yield bad
                position = bad.end or end
        if position == before:
            if piece.begin <= position:
                return  # the log ends before
            position = piece.begin


def look(fetch: Fetch, position: int, batch_max_bytes: int) -> Look:
    """Look at the batches from `position` on, a megabyte of them."""
    # From the batch before on: what a broker gives for `position` may lie behind a batch whose offsets are too low.
    asked_at = max(0, position - 1)
    piece, seen = _fetch_and_walk(fetch, asked_at, batch_max_bytes)
    if not piece.data:
        asked_at = position
        piece, seen = _fetch_and_walk(fetch, asked_at, batch_max_bytes)
    if position >= piece.end:
        return Look(None, position, piece.end)
    for bad in seen.bad:
        if bad.begin > position:
            return Look(None, bad.begin, piece.end)
        if bad.end is None or bad.end > position:
            closed = _close(fetch, bad._replace(begin=position), piece.end, batch_max_bytes)
            return Look(closed, position, piece.end)
    if asked_at != position and not fetch(position, 1).data:
        # good, but a wrong length before it hides it from a broker that is asked for this offset
        return Look(_close(fetch, Bad(position, None, UNREADABLE), piece.end, batch_max_bytes), position, piece.end)
    return Look(None, max(position, piece.begin, seen.end), piece.end)


def _fetch_and_walk(fetch: Fetch, position: int, batch_max_bytes: int) -> tuple[Piece, Walk]:
    piece = fetch(position, LOOK_BYTES)
    if not piece.data and piece.begin <= position < piece.end:
        return piece, Walk([Bad(position, None, UNREADABLE)], position, is_cut=False)
    seen = walk(piece.data, position, piece.end, is_whole=len(piece.data) < LOOK_BYTES)
    if seen.is_cut and seen.end == position:  # the first batch
        piece = fetch(position, batch_max_bytes)
        seen = walk(piece.data, position, piece.end, is_whole=True)
    return piece, seen


def _close(fetch: Fetch, bad: Bad, log_end: int, batch_max_bytes: int) -> Bad:
    """Find where it ends: the first offset behind it for which the broker gives a good batch, or the log's end.

    About 2 log2(records of the batch) fetches where the bytes do not tell it.
    """

    def is_good(offset: int) -> bool:
        if offset >= log_end:
            return True
        _, seen = _fetch_and_walk(fetch, offset, batch_max_bytes)
        return seen.end > offset and not any(isinstance(each, Bad) for each in seen.found[:2])

    low, end, step = bad.begin, bad.end if bad.end is not None else bad.begin + 1, 1
    low = max(low, end - 1)
    while not is_good(end):
        low, end, step = end, min(end + step, log_end), step * 2
    while end - low > 1:
        middle = (low + end) // 2
        if is_good(middle):
            end = middle
        else:
            low = middle
    return bad._replace(end=end)
