"""Bodies that come compressed: unpacked whole, and never to more than a body may have."""

import io
import zlib

import zstandard

from pipeline.gateway.compressed import GZIP_WINDOW_BITS

ENCODINGS = ("gzip", "deflate", "zstd")
# RFC 9659: a decoder of the content coding `zstd` need not take a larger window
ZSTD_WINDOW_MAX_BYTES = 8 * 1024 * 1024
ZLIB_WINDOW_BITS = 15
RAW_WINDOW_BITS = -15
GZIP_MEMBERS_MAX = 100
ZLIB_METHOD = 8  # the low half of zlib's first byte; a raw stream has none


class TooLargeError(Exception):
    """The body would unpack to more than is allowed."""


def unpack(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """The content of a body. Raises `TooLargeError`, or `ValueError` when it is not encoded so."""
    match encoding:
        case "gzip" | "x-gzip":
            return _unpack_gzip(body, max_bytes)
        case "deflate":
            # RFC 9110 §8.4.1.2: zlib's format, which some send without its frame
            bits = ZLIB_WINDOW_BITS if body[:1] and body[0] & 0xF == ZLIB_METHOD else RAW_WINDOW_BITS
            content, rest = _inflate(body, bits, max_bytes)
            if rest:
                raise ValueError("something follows its end")
            return content
        case "zstd":
            return _unpack_zstd(body, max_bytes)
        case _:
            raise ValueError(f"`Content-Encoding` must be one of {', '.join(ENCODINGS)}, not {encoding}")


def _unpack_gzip(body: bytes, max_bytes: int) -> bytes:
    # RFC 1952 §2.2: one member after the other
    content, rest = _inflate(body, GZIP_WINDOW_BITS, max_bytes)
    parts, size = [content], len(content)
    while rest:
        if len(parts) == GZIP_MEMBERS_MAX:  # each costs a copy of the rest
            raise ValueError(f"it has more than {GZIP_MEMBERS_MAX} members")
        content, rest = _inflate(rest, GZIP_WINDOW_BITS, max_bytes - size)
        parts.append(content)
        size += len(content)
    return b"".join(parts)


def _inflate(body: bytes, window_bits: int, max_bytes: int) -> tuple[bytes, bytes]:
    """The content of a stream, and what follows it."""
    inflater = zlib.decompressobj(window_bits)
    try:
        # one byte more than is allowed shows that the body is too long; 0 would be no limit
        content = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(content) > max_bytes:
        raise TooLargeError
    if not inflater.eof:
        raise ValueError("it ends too early")
    return content, inflater.unused_data


def _unpack_zstd(body: bytes, max_bytes: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX_BYTES)
    try:
        # believed only where it says too much: memory is taken as the content comes
        if zstandard.frame_content_size(body) > max_bytes:
            raise TooLargeError
        content = unpacker.stream_reader(io.BytesIO(body)).read(max_bytes + 1)
        if len(content) > max_bytes:
            raise TooLargeError
        # a reader does not say whether the frame was whole
        whole = unpacker.decompress(body, max_output_size=max(1, len(content)), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return bytes(whole)
