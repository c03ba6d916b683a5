"""The matcher's reading of a fetch with a bad batch: aiokafka's own reading, of bytes as a broker sends them."""

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from pipeline.kafka.record import LogRecord
from pipeline.matcher.batches import ReadableBatches, ReadAside
from tests.support.batches import make_batch

EVENTS = TP("events", 0)
BATCHES, BATCH_RECORDS, BAD_BATCH = 6, 10, 3
RECORDS = range(BATCHES * BATCH_RECORDS)
BAD_BEGIN = 30
READ_COMMITTED = 1


def number_values(begin: int) -> list[bytes]:
    return [b"%04d" % offset for offset in range(begin, begin + BATCH_RECORDS)]


def read(data: bytes, position: int, *, ends: dict[TP, int] | None = None) -> tuple[list[int], int, bool]:
    """Which records are handed out, where the next fetch begins, and whether the partition is held there."""
    fetched = PartitionRecords(EVENTS, MemoryRecords(data), [], position, None, None, True, READ_COMMITTED)
    held: list[TP] = []
    ReadableBatches(fetched, held.append, {} if ends is None else ends)
    records = [(record.offset, int(record.value)) for record in fetched]
    assert all(offset == number for offset, number in records)
    assert held in ([], [EVENTS])
    return [offset for offset, _ in records], fetched.next_fetch_offset, bool(held)


def write() -> bytes:
    return b"".join(make_batch(begin, number_values(begin)) for begin in RECORDS[::BATCH_RECORDS])


def flip(byte: int, bit: int) -> bytes:
    data = bytearray(write())
    data[BAD_BATCH * len(data) // BATCHES + byte] ^= 1 << bit
    return bytes(data)


@pytest.mark.parametrize("position", [0, 5, 30, 59])
def test_good_batches_are_handed_out(position: int) -> None:
    """Batches are handed out from the position on, whatever batch it is in."""
    data = write()
    offsets, then, is_held = read(data[position // BATCH_RECORDS * len(data) // BATCHES :], position)

    assert (list(RECORDS[position:]), len(RECORDS), False) == (offsets, then, is_held)


@pytest.mark.parametrize("position", [0, 5, 30])
@pytest.mark.parametrize(
    ("byte", "bit"),
    [(7, 0), (7, 1), (7, 3), (7, 4), (7, 5), (6, 3), (0, 1), (0, 7), (17, 0), (22, 5), (26, 1), (43, 2), (60, 0)],
)
def test_a_bad_header_ends_the_fetch(byte: int, bit: int, position: int) -> None:
    """A wrong offset, checksum or count: reading ends in front of it, or of a good batch that it contradicts."""
    data = flip(byte, bit)
    # a broker sends what lies from the batch of the position on
    offsets, then, is_held = read(data[position // BATCH_RECORDS * len(data) // BATCHES :], position)

    assert list(RECORDS[position:then]) == offsets
    assert then in (position, BAD_BEGIN - BATCH_RECORDS, BAD_BEGIN)
    assert is_held


@pytest.mark.parametrize("bit", [1, 3])
def test_a_batch_alone_in_its_fetch_begins_where_the_one_before_ended(bit: int) -> None:
    """An offset that is too low by less than a batch has records would skip as many of them, and rename the others."""
    data, ends = flip(7, bit), dict[TP, int]()
    size = len(data) // BATCHES
    offsets, then, _ = read(data[: BAD_BATCH * size], 0, ends=ends)
    assert (BAD_BEGIN, BAD_BEGIN) == (len(offsets), then)

    assert ([], BAD_BEGIN, True) == read(data[BAD_BATCH * size :][:size], then, ends=ends)


def test_what_the_broker_leaves_out_is_not_passed_over() -> None:
    """A damaged header misleads it as well: what it gives for an offset then begins behind it."""
    data = flip(17, 0)
    size = len(data) // BATCHES

    assert ([], 25, True) == read(data[4 * size :], 25)


def test_records_that_were_read_aside_look_like_fetched_ones() -> None:
    """Records come in order, from the position on; the next fetch begins behind the last of them."""
    aside = ReadAside(7, [LogRecord("events", 0, offset, b"k", b"value", 1_000_000) for offset in (7, 8)])
    records = list(aside)

    assert [(7, b"value", 1000), (8, b"value", 1000)] == [
        (record.offset, record.value, record.timestamp) for record in records
    ]
    assert 9 == aside.next_fetch_offset
