from collections.abc import Mapping
from dataclasses import dataclass

import faust
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from pipeline.matcher.chunks import CODEC, Chunk, ChunkCodec, cut_chunks, register_codec, schedule_chunks


@dataclass(slots=True, frozen=True)
class Fetched:
    """The fields of a fetched record that matter here."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    timestamp_type: int = 1


@st.composite
def fetches(draw: st.DrawFn) -> dict[TP, list[Fetched]]:
    """Answers of one fetch: some partitions, some records of each, offsets rising with gaps."""
    fetched = {}
    for partition in draw(st.lists(st.integers(0, 8), unique=True, max_size=5)):
        offset, records = draw(st.integers(0, 100)), []
        for gap in draw(st.lists(st.integers(1, 3), max_size=20)):
            offset += gap
            records.append(Fetched("events", partition, offset))
        fetched[TP("events", partition)] = records
    return fetched


@given(fetches(), st.integers(1, 15))
def test_every_record_is_in_one_chunk_in_order(fetched: Mapping[TP, list[Fetched]], records_max: int) -> None:
    """Nothing is left out or repeated; within a partition the order stays, in chunks of a bounded size."""
    chunks = [chunk for _, chunk in cut_chunks(fetched, records_max)]
    found: dict[TP, list[Fetched]] = {tp: [] for tp in fetched}
    for chunk in chunks:
        assert 1 <= len(chunk.value.records) <= records_max
        for record in chunk.value.records:
            found[TP(record.topic, record.partition)].append(record)

    assert fetched == found
    # no more chunks than needed
    assert len(chunks) == -(-sum(map(len, fetched.values())) // records_max)


@given(fetches(), st.integers(1, 15))
def test_a_chunk_stands_for_its_last_record(fetched: Mapping[TP, list[Fetched]], records_max: int) -> None:
    """Faust compares offset and partition with what it has read: both must be of the same record."""
    for tp, chunk in cut_chunks(fetched, records_max):
        last = chunk.value.records[-1]

        assert tp == TP(chunk.topic, chunk.partition) == TP(last.topic, last.partition)
        assert last.offset == chunk.offset
        assert chunk.headers == ()
        assert chunk.key is None


def test_faust_finds_the_scheduler_and_the_codec() -> None:
    """Both are where the settings of Faust's documentation look for them."""
    register_codec()
    scheduler = schedule_chunks(2, lambda: 0)()
    records = {TP("events", 0): [Fetched("events", 0, offset) for offset in range(3)]}
    value = object()

    assert [2, 1] == [len(chunk.value.records) for _, chunk in scheduler.iterate(records)]
    assert value is faust.serializers.codecs.get_codec(CODEC).loads(value)  # type: ignore[arg-type]  # passed through
    with pytest.raises(NotImplementedError):
        ChunkCodec().dumps(value)


def test_chunk_looks_like_a_record() -> None:
    """All that Faust's consumer reads of a record is there."""
    chunk = next(chunk for _, chunk in cut_chunks({TP("events", 1): [Fetched("events", 1, 7, 99)]}, 10))

    assert isinstance(chunk, Chunk)
    assert ("events", 1, 7, 99, 1) == (
        chunk.topic,
        chunk.partition,
        chunk.offset,
        chunk.timestamp,
        chunk.timestamp_type,
    )
    assert (None, 0, 0) == (chunk.checksum, chunk.serialized_key_size, chunk.serialized_value_size)
