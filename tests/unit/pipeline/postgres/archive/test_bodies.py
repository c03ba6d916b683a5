from hypothesis import given
from hypothesis import strategies as st

from pipeline.postgres.archive.bodies import pack_body, unpack_body


@given(st.binary(max_size=5000), st.integers(0, 4000))
def test_a_body_comes_back_byte_for_byte(body: bytes, compress_min_bytes: int) -> None:
    """Reading gives what was written, for any body and setting."""
    stored, compressed = pack_body(body, compress_min_bytes=compress_min_bytes)

    assert body == unpack_body(stored, compressed=compressed)


def test_only_large_bodies_that_shrink_are_compressed() -> None:
    """A short body is kept as it is; so is one that would grow."""
    assert (b"a" * 10, False) == pack_body(b"a" * 10, compress_min_bytes=11)
    assert pack_body(b"a" * 2000, compress_min_bytes=1024)[1]
    assert (b"xyz", False) == pack_body(b"xyz", compress_min_bytes=0)
