import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.partition import hash_murmur2, locate_partition


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # the vectors of Kafka's own UtilsTest.testMurmur2, as signed 32-bit numbers
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_is_kafkas(key: bytes, expected: int) -> None:
    """Every client of Kafka, in whatever language, comes to the same number."""
    assert expected & 0xFFFFFFFF == hash_murmur2(key)


@given(st.binary(), st.integers(1, 1024))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    """The partition exists, and is the same at every look."""
    located = locate_partition(key, partitions)

    assert 0 <= located < partitions
    assert located == locate_partition(key, partitions)


def test_keys_are_spread() -> None:
    """Ids fill all partitions evenly: none has twice its share."""
    counts = [0] * 8
    for number in range(8000):
        counts[locate_partition(f"0190f1a2-0000-7000-8000-{number:012x}".encode(), 8)] += 1

    assert all(500 < count < 2000 for count in counts), counts
