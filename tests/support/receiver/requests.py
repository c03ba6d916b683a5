"""Recorded requests, and the journal that keeps them in a file: one JSON line each, written before the answer."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it came in.

    `headers`: names and values as received and in that order, Latin-1. `arrived_at_us`: the first byte's time, wall
    clock, microseconds since the epoch; `arrived_monotonic_s`: the same by the machine's monotonic clock.
    `answer`: the behaviour it met, as text. `body` is empty when read from a journal that keeps digests only;
    `body_bytes` and `body_sha256` are always those of the whole body.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_bytes: int
    body_sha256: str
    arrived_at_us: int
    arrived_monotonic_s: float
    answer: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The only value of a header. Raises AssertionError when there is none, or more than one."""
        values = self.values(name)
        assert len(values) == 1, f"{name} is there {len(values)} times in {self.method} {self.target}"
        return values[0]


@dataclass(slots=True, kw_only=True)
class ParsedRequest:
    """A request while it is being read."""

    arrived_at_us: int
    arrived_monotonic_s: float
    method: str = ""
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


def digest(body: bytes) -> str:
    """The value of `body_sha256`."""
    return sha256(body).hexdigest()


class Journal:
    """Appends requests to a file at once, so that a kill of any process loses none that was answered."""

    def __init__(self, path: Path, *, keeps_bodies: bool = True) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._encoder = msgspec.json.Encoder()
        self._keeps_bodies = keeps_bodies

    def append(self, request: ReceivedRequest) -> None:
        kept = request if self._keeps_bodies else replace(request, body=b"")
        os.write(self._file, self._encoder.encode(kept) + b"\n")

    def close(self) -> None:
        os.close(self._file)


class JournalReader:
    """Reads a journal that may still grow; every line is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = msgspec.json.Decoder(ReceivedRequest)

    def read_new(self) -> Iterator[ReceivedRequest]:
        """The requests appended since the last call. A last line without its end is left for the next one."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._position += len(line)
                yield self._decoder.decode(line)


def read_journal(path: Path) -> list[ReceivedRequest]:
    """All complete lines of a journal."""
    return list(JournalReader(path).read_new())
