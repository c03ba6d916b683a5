import gzip
import zlib

import pytest
import zstandard

from pipeline.gateway.unpacking import GZIP_MEMBERS_MAX, TooLargeError, unpack

CONTENT = b"order 42 " * 10
LARGE = b"x" * 50_000_000


def stream_zstd(content: bytes, *, window_log: int = 20) -> bytes:
    """A frame that does not say how long its content is."""
    settings = zstandard.ZstdCompressionParameters(window_log=window_log)
    writer = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return writer.compress(content) + writer.flush()


FORMS = {
    "gzip": ("gzip", gzip.compress(CONTENT)),
    "gzip by its old name": ("x-gzip", gzip.compress(CONTENT)),
    "gzip in two members": ("gzip", gzip.compress(CONTENT[:7]) + gzip.compress(CONTENT[7:])),
    "deflate": ("deflate", zlib.compress(CONTENT)),
    "deflate without its frame": ("deflate", zlib.compress(CONTENT)[2:-4]),
    "zstd": ("zstd", zstandard.compress(CONTENT)),
    "zstd of unknown length": ("zstd", stream_zstd(CONTENT)),
}
forms = pytest.mark.parametrize("form", FORMS)


@forms
def test_what_was_compressed_comes_out(form: str) -> None:
    """The body comes out of each encoding, up to the last byte that is allowed."""
    encoding, body = FORMS[form]

    assert unpack(body, encoding, max_bytes=len(CONTENT)) == CONTENT


@forms
def test_more_than_is_allowed_is_refused(form: str) -> None:
    """One byte too many is refused."""
    encoding, body = FORMS[form]
    with pytest.raises(TooLargeError):
        unpack(body, encoding, max_bytes=len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [("gzip", gzip.compress(LARGE)), ("zstd", zstandard.compress(LARGE)), ("zstd", stream_zstd(LARGE))],
    ids=["gzip", "zstd", "zstd of unknown length"],
)
def test_a_bomb_is_not_unpacked(encoding: str, bomb: bytes) -> None:
    """A bomb is refused, however little of it arrives."""
    with pytest.raises(TooLargeError):
        unpack(bomb, encoding, max_bytes=1_000_000)


@forms
def test_what_is_cut_off_is_refused(form: str) -> None:
    """A payload must not lose its end silently."""
    encoding, body = FORMS[form]
    with pytest.raises(ValueError, match=r"early|full frame"):
        unpack(body[:-1] if form != "deflate without its frame" else body[:-3], encoding, max_bytes=1000)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"{}"),
        ("gzip", gzip.compress(CONTENT) + b"more"),
        ("gzip", gzip.compress(b"") * (GZIP_MEMBERS_MAX + 1)),
        ("deflate", b"{}"),
        ("deflate", zlib.compress(CONTENT) + b"more"),
        ("zstd", b"{}"),
        ("zstd", zstandard.compress(CONTENT) + b"more"),
        ("zstd", stream_zstd(LARGE, window_log=27)),
        ("br", b"{}"),
        ("gzip, gzip", gzip.compress(gzip.compress(CONTENT))),
    ],
)
def test_what_is_not_encoded_so_is_refused(encoding: str, body: bytes) -> None:
    """Other bytes, too many members, too large a window, an encoding that is not known."""
    with pytest.raises(ValueError, match=r"."):
        unpack(body, encoding, max_bytes=100_000_000)
