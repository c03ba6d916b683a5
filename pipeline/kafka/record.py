"""A record as it was read, and where it lay."""

from typing import NamedTuple

from pipeline.core.log import positions
from pipeline.core.trace_context import TraceHeaders

Place = positions.Place  # the same outside of core


class LogRecord(NamedTuple):
    """One record of the log. A tuple, because one is made for every record read (0.3 µs; a dataclass takes 1.1)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_us: int
    trace: TraceHeaders | None = None  # read only while tracing is on

    @property
    def place(self) -> Place:
        return (self.topic, self.partition)


class Committed(NamedTuple):
    """A commit for one place: the next offset to read, and our own note beside it."""

    offset: int
    metadata: str = ""
