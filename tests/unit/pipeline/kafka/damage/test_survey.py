"""Finding a damaged batch and the next good one by bytes alone, whichever bit of a header is wrong."""

from pipeline.kafka.damage.batches import HEADER, Bad, Batch
from pipeline.kafka.damage.raw_log import Piece
from pipeline.kafka.damage.survey import LOOK_BYTES, each_batch, look
from tests.support.batches import make_batch

BATCHES, BATCH_RECORDS, BAD_BATCH = 6, 10, 3
BATCH_MAX_BYTES = 1 << 20
ALL = range(8)
BITS = [
    (byte, bit)
    for byte, bits in {
        0: (1, 7),
        3: (4,),
        6: (0, 3),
        7: ALL,  # base offset
        8: (0, 7),
        9: (3,),
        10: ALL,
        11: ALL,  # length
        16: ALL,
        17: (0,),
        22: (0, 5),
        26: (0, 1, 2),
        30: (1,),
        43: (2,),
        52: (0,),
        56: (0,),
        60: (0,),
    }.items()
    for bit in bits
]


VALUES = [b"value"] * BATCH_RECORDS
LOG = b"".join(make_batch(each * BATCH_RECORDS, VALUES) for each in range(BATCHES))


class File:
    """A segment, and the broker's way to find an offset in it: from the first batch on, by the batches' own headers.

    It looks at the next batch's offset before it takes one.
    """

    def __init__(self, data: bytes = LOG) -> None:
        self.data = bytearray(data)
        self.batch_bytes = len(self.data) // BATCHES

    def flip(self, byte: int, bit: int) -> None:
        self.data[BAD_BATCH * self.batch_bytes + byte] ^= 1 << bit

    def fetch(self, offset: int, size: int) -> Piece:
        at, before = 0, None
        while at + HEADER.size <= len(self.data):
            base, length, _, magic, _, _, last_delta, *_ = HEADER.unpack_from(self.data, at)
            if length < HEADER.size - 12 or magic > 2 or at + length + 12 > len(self.data):
                return self._cut(None, size)
            if base == offset:
                return self._cut(at, size)
            if base > offset:
                return self._cut(before[0] if before is not None and before[1] >= offset else at, size)
            before, at = (at, base + last_delta), at + length + 12
        return self._cut(before[0] if before is not None and before[1] >= offset else None, size)

    def _cut(self, at: int | None, size: int) -> Piece:
        return Piece(bytes(self.data[at : at + size]) if at is not None else b"", 0, BATCHES * BATCH_RECORDS)


def test_all_good_batches_are_found() -> None:
    """A reader of the whole log gets every batch but the bad one, whose offsets are named."""
    good = [make_batch(each * BATCH_RECORDS, VALUES) for each in range(BATCHES) if each != BAD_BATCH]
    for byte, bit in BITS:
        file = File()
        file.flip(byte, bit)
        found = list(each_batch(file.fetch, 0, BATCHES * BATCH_RECORDS, BATCH_MAX_BYTES))
        bad = [each for _, each in found if isinstance(each, Bad)]

        assert [(30, 40)] == [(each.begin, each.end) for each in bad], (byte, bit)
        assert good == [
            piece.data[each.at : each.at + each.size] for piece, each in found if isinstance(each, Batch)
        ], (byte, bit)


def test_all_good_records_behind_an_offset_are_found() -> None:
    """A reader in the middle of a batch, in the bad one, or between two finds them: the broker is asked again."""
    for byte, bit in BITS:
        for begin in (0, 1, 25, 29, 30, 31, 35, 39, 40, 41, 59):
            file = File()
            file.flip(byte, bit)
            found = [each for _, each in each_batch(file.fetch, begin, BATCHES * BATCH_RECORDS, BATCH_MAX_BYTES)]
            bad = [(each.begin, each.end) for each in found if isinstance(each, Bad)]
            good = [offset for each in found if isinstance(each, Batch) for offset in range(each.begin, each.end)]

            assert [offset for offset in range(begin, 60) if not 30 <= offset < 40] == [
                offset for offset in good if offset >= begin
            ], (byte, bit, begin)
            assert bad == ([(max(begin, 30), 40)] if begin < 40 else []), (byte, bit, begin)


def test_behind_the_last_batch_there_is_nothing() -> None:
    """A reader that waits at the end for more names nothing, whatever is wrong before."""
    for byte, bit in BITS:
        file = File()
        file.flip(byte, bit)

        assert [] == list(each_batch(file.fetch, BATCHES * BATCH_RECORDS, 1000, BATCH_MAX_BYTES)), (byte, bit)


def test_a_batch_that_is_larger_than_a_look_is_found() -> None:
    """The batch is found from where it begins, and from before: a look from the record before shows only a part."""
    file = File(make_batch(0, VALUES) + make_batch(BATCH_RECORDS, [b"x" * LOOK_BYTES]) + make_batch(11, VALUES))
    for begin in (0, 5, BATCH_RECORDS, 11):
        found = [each for _, each in each_batch(file.fetch, begin, 21, 2 * LOOK_BYTES)]

        assert [each for each in ((0, 10), (10, 11), (11, 21)) if each[1] > begin] == [
            (each.begin, each.end) for each in found if isinstance(each, Batch)
        ], begin


def test_a_look_at_it_names_it() -> None:
    """A reader stopped at the bad batch by anything goes on at the first offset behind it that the broker can give."""
    for byte, bit in BITS:
        file = File()
        file.flip(byte, bit)
        bad = look(file.fetch, 30, BATCH_MAX_BYTES).bad

        assert bad is not None, (byte, bit)
        assert bad.end is not None
        assert (30, True) == (bad.begin, 40 <= bad.end <= 60), (byte, bit, bad)


def test_a_good_log_has_nothing_bad() -> None:
    """A gap before a good batch, the middle of a batch, and the log's end are no damage."""
    file = File()
    assert [None] * 61 == [look(file.fetch, position, BATCH_MAX_BYTES).bad for position in range(61)]

    del file.data[file.batch_bytes : 2 * file.batch_bytes]  # compacted away
    seen = look(file.fetch, 10, BATCH_MAX_BYTES)

    assert (None, 60) == (seen.bad, seen.good_to)


def test_a_wrong_leader_epoch_harms_nobody() -> None:
    """No reader takes it from the batch."""
    file = File()
    file.flip(12, 3)

    assert look(file.fetch, 30, BATCH_MAX_BYTES).bad is None
