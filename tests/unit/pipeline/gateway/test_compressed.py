"""Which encoding an answer gets, and that it is one."""

import gzip

import pytest
import zstandard

from pipeline.gateway.compressed import choose_encoding, start_encoding


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=0.5", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0, zstd;q=0", None),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=nonsense", None),
        (";;;,,,", None),
    ],
)
def test_the_encoding_is_what_the_client_prefers(accepted: str | None, expected: str | None) -> None:
    """Weights as RFC 9110 has them; of equal ones zstd."""
    assert expected == choose_encoding(accepted)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_pieces_become_one_stream(encoding: str) -> None:
    """Pieces that are encoded one by one are decoded as one stream."""
    encoder = start_encoding(encoding)
    encoded = b"".join(encoder.compress(b"piece %d\n" % number) for number in range(1000)) + encoder.flush()
    decoded = (
        gzip.decompress(encoded)
        if encoding == "gzip"
        else zstandard.ZstdDecompressor().decompressobj().decompress(encoded)
    )

    assert b"".join(b"piece %d\n" % number for number in range(1000)) == decoded
    assert len(encoded) < len(decoded) / 3
