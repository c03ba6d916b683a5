"""A broker's files, looked into and damaged on purpose. It serves what is in the file, and need not be stopped."""

import struct
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct(">qiibIhiqqqhii")  # of a batch, as Kafka writes it: 61 bytes
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch in the file: `at` its first byte."""

    at: int
    size: int
    base_offset: int
    last_offset: int
    codec: str

    @property
    def records(self) -> int:
        return self.last_offset - self.base_offset + 1


class Segment:
    """The first segment of one partition, as an embedded broker in `data_dir` keeps it."""

    def __init__(self, data_dir: Path, topic: str, partition: int = 0) -> None:
        self.path = data_dir / "log" / f"{topic}-{partition}" / f"{0:020}.log"
        self._flipped: list[tuple[int, int]] = []  # byte and bit

    def batches(self) -> list[Batch]:
        """All that are there, as they were before this object turned bits of them."""
        data = bytearray(self.path.read_bytes())
        for place, bit in self._flipped:
            data[place] ^= 1 << bit
        found, at = [], 0
        while at + HEADER.size <= len(data):
            base, length, _, _, _, attributes, last_delta, *_ = HEADER.unpack_from(data, at)
            if length <= 0:
                break  # the rest is reserved
            size = length + 12
            codec = CODECS[attributes & 7]
            found.append(Batch(at=at, size=size, base_offset=base, last_offset=base + last_delta, codec=codec))
            at += size
        return found

    def read(self, batch: Batch) -> bytes:
        """The bytes of a batch, as they are in the file."""
        return self.path.read_bytes()[batch.at : batch.at + batch.size]

    def flip(self, batch: Batch, at: int, bit: int = 2) -> None:
        """Turn one bit of a batch, `at` bytes behind its first one; negative: before its end."""
        place = batch.at + (at if at >= 0 else batch.size + at)
        with self.path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << bit]))
        self._flipped.append((place, bit))

    def flip_in(self, batch: Batch, text: bytes) -> None:
        """Turn a bit of the first place where `text` is in a batch. It must not be compressed."""
        data = self.path.read_bytes()
        place = data.index(text, batch.at, batch.at + batch.size)
        self.flip(batch, place - batch.at)

    def cut(self, batch: Batch) -> None:
        """Lose this batch and all behind it. The broker must not run."""
        with self.path.open("r+b") as file:
            file.truncate(batch.at)
