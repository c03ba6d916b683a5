"""Unpacking what producers have compressed, to a bound: aiokafka has none, and 4 MiB can unpack to gigabytes.

The bound is the one that librdkafka has for zstd. A batch beyond it is stepped over, by the matcher as by the archive.
"""

import gzip
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cramjam
from aiokafka import codec
from aiokafka.record._crecords import default_records

# What one byte can come to at most; a bound for zstd there is none.
LZ4_RATIO = 255
GZIP_RATIO = 1032
# The first guess for zstd, doubled as long as it is too little.
ZSTD_RATIO = 8
ZSTD_MIN_BYTES = 64 * 1024
# In the header of a batch.
CODEC_AT, CODEC_MASK, RECORDS_AT = 22, 7, 61
GZIP, SNAPPY, LZ4 = 1, 2, 3
RATIOS = {GZIP: GZIP_RATIO, LZ4: LZ4_RATIO}
XERIAL_MARK = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16

Unpack = Callable[[Any], bytes]


class UnpackedTooLargeError(Exception):
    """More than the bound."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"unpacked it has more than {max_bytes} bytes (HOOKLINE_KAFKA_BATCH_UNPACKED_MAX_BYTES)")


def bound_unpacking(max_bytes: int) -> None:
    """Bound the size to which this process' aiokafka unpacks one batch, from now on."""
    for name, unpack in make_unpackers(max_bytes).items():
        setattr(default_records, name, unpack)


def may_exceed(data: bytes, at: int, size: int, max_bytes: int) -> bool:
    """May the batch unpack to more than so many bytes? False also where librdkafka sees to it (zstd)."""
    codec_id = data[at + CODEC_AT] & CODEC_MASK
    if codec_id == SNAPPY:
        try:
            return _measure_snappy(data[at + RECORDS_AT : at + size]) > max_bytes
        except cramjam.DecompressionError:
            return True
    return size * RATIOS.get(codec_id, 0) > max_bytes


def make_unpackers(max_bytes: int) -> dict[str, Unpack]:
    """The unpackers, by aiokafka's names. They raise `UnpackedTooLargeError`, or the codec's error for bad bytes."""

    def unpack_gzip(packed: Any) -> bytes:
        data = bytes(packed)
        if len(data) * GZIP_RATIO <= max_bytes:
            return bytes(codec.gzip_decode(data))
        with gzip.GzipFile(fileobj=_open(data)) as stream:
            return _check(stream.read(max_bytes + 1))

    def unpack_lz4(packed: Any) -> bytes:
        data = bytes(packed)
        if len(data) * LZ4_RATIO <= max_bytes:
            return bytes(codec.lz4_decode(data))
        return _grow(cramjam.lz4.decompress_into, data, 4 * len(data), max_bytes)

    def unpack_snappy(packed: Any) -> bytes:
        data = bytes(packed)
        if _measure_snappy(data) > max_bytes:
            raise UnpackedTooLargeError(max_bytes)
        return bytes(codec.snappy_decode(data))

    def unpack_zstd(packed: Any) -> bytes:
        data = bytes(packed)
        return _grow(cramjam.zstd.decompress_into, data, max(ZSTD_MIN_BYTES, ZSTD_RATIO * len(data)), max_bytes)

    def _check(unpacked: bytes) -> bytes:
        if len(unpacked) > max_bytes:
            raise UnpackedTooLargeError(max_bytes)
        return unpacked

    return {
        "gzip_decode": unpack_gzip,
        "lz4_decode": unpack_lz4,
        "snappy_decode": unpack_snappy,
        "zstd_decode": unpack_zstd,
    }


def _open(data: bytes) -> Any:
    return BytesIO(data)


def _grow(unpack_into: Callable[[bytes, bytearray], int], data: bytes, size: int, max_bytes: int) -> bytes:
    size = min(size, max_bytes)
    while True:
        out = bytearray(size)
        try:
            return bytes(memoryview(out)[: unpack_into(data, out)])
        except cramjam.DecompressionError as error:
            # its message when no room is left; any other error means damaged bytes
            if "write whole buffer" not in str(error):
                raise
            if size >= max_bytes:
                raise UnpackedTooLargeError(max_bytes) from error
        size = min(size * 4, max_bytes)


def _measure_snappy(data: bytes) -> int:
    if not data.startswith(XERIAL_MARK):
        return int(cramjam.snappy.decompress_raw_len(data))
    at, total = XERIAL_HEADER_BYTES, 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        total += int(cramjam.snappy.decompress_raw_len(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return total
