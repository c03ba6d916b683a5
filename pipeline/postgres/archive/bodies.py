"""Bodies as the archive keeps them: as they are, or as one zstd frame when that is smaller."""

import zstandard

LEVEL = 3
_compressor = zstandard.ZstdCompressor(level=LEVEL)
_decompressor = zstandard.ZstdDecompressor()


def pack_body(body: bytes, *, compress_min_bytes: int) -> tuple[bytes, bool]:
    """The bytes to store, and whether they are compressed. Only bodies of `compress_min_bytes` or more are tried."""
    if len(body) < compress_min_bytes or not body:
        return body, False
    packed = _compressor.compress(body)
    return (packed, True) if len(packed) < len(body) else (body, False)


def unpack_body(stored: bytes, *, compressed: bool) -> bytes:
    """Unpack a stored body."""
    return _decompressor.decompress(stored) if compressed else stored
