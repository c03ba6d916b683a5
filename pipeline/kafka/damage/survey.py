"""Is the batch at an offset damaged, and where can reading go on behind it? Judged by the log's bytes alone."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.batches import Bad, Batch, Walk, read_batch, walk
from pipeline.kafka.damage.raw_log import Piece, RawLog
from pipeline.kafka.record import Place

UNREADABLE = "the broker cannot read its file here"
LOOK_BYTES = 1024 * 1024
# beyond what a batch may have by the topics' settings
BATCH_BYTES_EXTRA = 64 * 1024
# how many offsets before a position a good batch is looked for
BACK_MAX = 2**20

Fetch = Callable[[int, int], Piece]  # by offset and bytes
Found = tuple[Piece, Batch | Bad]


class Look(NamedTuple):
    """Content of the log at an offset. `bad`: an unreadable part, with its end; None: the next batch is a good one.

    All batches before `good_to` are good. The log ended at `log_end`.
    """

    bad: Bad | None
    good_to: int
    log_end: int


class Survey:
    """Blocks; for one thread. Raises `TimeoutError` when Kafka does not answer."""

    def __init__(self, config: KafkaConfig, *, with_open: bool = True) -> None:
        """`with_open`: also what open transactions hold back."""
        self._raw = RawLog(config, with_open=with_open)
        self._batch_max_bytes = config.record_max_bytes + BATCH_BYTES_EXTRA

    def look(self, place: Place, position: int) -> Look:
        return look(lambda offset, size: self._raw.fetch(place, offset, size), position, self._batch_max_bytes)

    def each_batch(self, place: Place, begin: int, end: int) -> Iterator[Found]:
        """Each batch from one offset to another, in the piece that has its bytes, or what cannot be read of them."""
        return each_batch(lambda offset, size: self._raw.fetch(place, offset, size), begin, end, self._batch_max_bytes)

    def can_serve(self, place: Place, position: int) -> bool:
        """Does the broker find the batch before an offset, when it is asked for its last record?"""
        piece = self._raw.fetch(place, position - 1, 1) if position > 0 else None
        if piece is None or piece.begin >= position:
            return True  # there is nothing before
        batch = read_batch(piece.data, 0)
        return isinstance(batch, Batch) and batch.begin < position <= batch.end

    def find_bounds(self, place: Place) -> tuple[int, int]:
        """Where the log begins and ends."""
        return self._raw.find_bounds(place)

    def close(self) -> None:
        self._raw.close()


def each_batch(fetch: Fetch, begin: int, end: int, batch_max_bytes: int) -> Iterator[Found]:
    """See `Survey.each_batch`."""
    position, is_boundary = begin, False
    while position < end:
        piece, seen = _fetch_around(fetch, position, batch_max_bytes, is_boundary=is_boundary)
        before = position
        for each in seen.found:
            if each.end is not None and each.end <= position:
                continue  # looked at before
            if each.begin >= end:
                return
            is_boundary = isinstance(each, Batch)
            if isinstance(each, Bad):
                closed = each if each.end is not None else _close(fetch, each, piece.end, batch_max_bytes)
                if closed.end is not None and closed.end <= position:
                    continue  # the log has nothing more yet
                yield piece, closed._replace(begin=max(position, each.begin))
                position = closed.end if closed.end is not None else end
            else:
                yield piece, each
                position = each.end
        if position == before:
            if piece.begin <= position:
                return  # the log ends before
            position, is_boundary = piece.begin, False


def look(fetch: Fetch, position: int, batch_max_bytes: int) -> Look:
    """Look at the batches from `position` on, a megabyte of them."""
    piece, seen = _fetch_around(fetch, position, batch_max_bytes, is_boundary=False)
    if not piece.data:
        piece, seen = _fetch_and_walk(fetch, position, batch_max_bytes, is_boundary=False)
    if position >= piece.end:
        return Look(None, position, piece.end)
    for bad in seen.bad:
        if bad.begin > position:
            return Look(None, bad.begin, piece.end)
        if bad.end is None or bad.end > position:
            closed = _close(fetch, bad._replace(begin=position), piece.end, batch_max_bytes)
            return Look(closed, position, piece.end)
    if not fetch(position, 1).data:
        # good, but a wrong length before it hides it from a broker that is asked for this offset
        return Look(_close(fetch, Bad(position, None, UNREADABLE), piece.end, batch_max_bytes), position, piece.end)
    return Look(None, max(position, piece.begin, seen.end), piece.end)


def _fetch_around(fetch: Fetch, position: int, batch_max_bytes: int, *, is_boundary: bool) -> tuple[Piece, Walk]:
    """Fetch the piece around `position`; it may begin before. `is_boundary`: one batch ends there, another begins.

    A broker looks for an offset by the headers of the batches around it. One that is damaged makes it leave out good
    ones as well: then it is asked for offsets further back. What it gives for them is read in the order of the file.
    """
    asked_at = position if is_boundary else max(0, position - 1)
    piece, seen = _fetch_and_walk(fetch, asked_at, batch_max_bytes, is_boundary=is_boundary)
    if asked_at < piece.begin <= position:
        return _fetch_and_walk(fetch, position, batch_max_bytes, is_boundary=False)
    if is_boundary and seen.found and isinstance(seen.found[0], Batch) and seen.found[0].begin == position:
        return piece, seen
    if not is_boundary and seen.is_cut and seen.end == position:
        # a batch begins there that is larger than a look
        return _fetch_around(fetch, position, batch_max_bytes, is_boundary=True)
    step, found = 2, seen
    while not _is_sure(found, position, is_whole=asked_at <= piece.begin):
        if asked_at <= piece.begin or position >= piece.end or step > BACK_MAX:
            return piece, seen
        asked_at, step = max(piece.begin, position - step), step * 4
        earlier, found = _fetch_and_walk(fetch, asked_at, batch_max_bytes, is_boundary=False)
        if _is_sure(found, position, is_whole=asked_at <= piece.begin):
            return earlier, found
    return piece, seen


def _is_sure(seen: Walk, position: int, *, is_whole: bool) -> bool:
    """Do the batches lead from a good one to `position` without a gap? `is_whole`: there is nothing before them."""
    expected: int | None = None
    for each in seen.found:
        if expected is None:
            if isinstance(each, Bad) or each.begin > position or (each.end > position and not is_whole):
                return False
        elif each.begin != expected:
            return False
        if each.end is None or each.end > position:
            return True
        expected = each.end
    return expected == position


def _fetch_and_walk(fetch: Fetch, position: int, batch_max_bytes: int, *, is_boundary: bool) -> tuple[Piece, Walk]:
    piece = fetch(position, LOOK_BYTES)
    if not piece.data and piece.begin <= position < piece.end:
        return piece, Walk([Bad(position, None, UNREADABLE)], position, is_cut=False)
    is_whole = len(piece.data) < LOOK_BYTES
    seen = walk(piece.data, position, piece.end, is_whole=is_whole, is_boundary=is_boundary)
    if seen.is_cut and seen.end == position:  # the first batch
        piece = fetch(position, batch_max_bytes)
        seen = walk(piece.data, position, piece.end, is_whole=True, is_boundary=is_boundary)
    return piece, seen


def _close(fetch: Fetch, bad: Bad, log_end: int, batch_max_bytes: int) -> Bad:
    """Find where it ends: the first offset behind it for which the broker gives a good batch, or the log's end.

    About 2 log2(records of the batch) fetches where the bytes do not tell it.
    """

    def is_good(offset: int) -> bool:
        if offset >= log_end:
            return True
        _, seen = _fetch_and_walk(fetch, offset, batch_max_bytes, is_boundary=False)
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
