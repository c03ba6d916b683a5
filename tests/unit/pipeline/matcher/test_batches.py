"""The matcher's reading of a fetch with a bad batch: aiokafka's own reading, of bytes as a broker sends them."""

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from pipeline.matcher.batches import ReadableBatches
from tests.support.batches import make_batch

EVENTS = TP("events", 0)
BATCHES, BATCH_RECORDS, BAD_BATCH = 6, 10, 3
RECORDS = range(BATCHES * BATCH_RECORDS)
BAD = range(30, 40)
READ_COMMITTED = 1


def number_values(begin: int) -> list[bytes]:
    return [b"%04d" % offset for offset in range(begin, begin + BATCH_RECORDS)]


def read(
    data: bytes, position: int, log_end: int = len(RECORDS), *, ends: dict[TP, int] | None = None
) -> tuple[list[int], list[tuple[int, int]], int]:
    """Which records are handed out, what is stepped over, and where the next fetch begins."""
    fetched = PartitionRecords(EVENTS, MemoryRecords(data), [], position, None, None, True, READ_COMMITTED)
    notes: list[tuple[int, int]] = []
    ReadableBatches(
        fetched, lambda tp, begin, end, reason: notes.append((begin, end)), log_end, {} if ends is None else ends
    )
    records = [(record.offset, int(record.value)) for record in fetched]
    assert all(offset == number for offset, number in records)
    return [offset for offset, _ in records], notes, fetched.next_fetch_offset


def flip(byte: int, bit: int) -> bytes:
    data = bytearray(b"".join(make_batch(begin, number_values(begin)) for begin in RECORDS[::BATCH_RECORDS]))
    data[BAD_BATCH * len(data) // BATCHES + byte] ^= 1 << bit
    return bytes(data)


@pytest.mark.parametrize("position", [0, 5, 30])
@pytest.mark.parametrize(
    ("byte", "bit"),
    [(7, 0), (7, 1), (7, 3), (7, 4), (7, 5), (6, 3), (0, 1), (0, 7), (17, 0), (22, 5), (26, 1), (43, 2), (60, 0)],
)
def test_a_bad_header_costs_its_batch(byte: int, bit: int, position: int) -> None:
    """A wrong offset, checksum or count: all other records are handed out as they are, and the batch is named."""
    data = flip(byte, bit)
    # a broker sends what lies from the batch of the position on
    offsets, notes, then = read(data[position // BATCH_RECORDS * len(data) // BATCHES :], position)

    assert [offset for offset in RECORDS if offset >= position and offset not in BAD] == offsets
    assert [(BAD.start, BAD.stop)] == notes
    assert len(RECORDS) == then


@pytest.mark.parametrize("bit", [1, 3])
def test_a_batch_alone_in_its_fetch_begins_where_the_one_before_ended(bit: int) -> None:
    """An offset that is too low by less than a batch has records would skip as many of them, and rename the others."""
    data, ends = flip(7, bit), dict[TP, int]()
    size = len(data) // BATCHES
    offsets, notes, then = read(data[: BAD_BATCH * size], 0, ends=ends)
    assert (BAD.start, BAD.start) == (len(offsets), then)

    assert ([], [(BAD.start, BAD.stop)], BAD.stop) == read(data[BAD_BATCH * size :][:size], then, ends=ends)
    assert [] == notes


def test_what_the_broker_leaves_out_is_named() -> None:
    """A damaged header misleads it as well: what it gives for an offset then begins behind it."""
    data = flip(17, 0)
    size = len(data) // BATCHES

    assert (list(RECORDS[40:]), [(25, 40)], len(RECORDS)) == read(data[4 * size :], 25)
