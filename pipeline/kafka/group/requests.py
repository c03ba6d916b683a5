"""Requests go from the loop to the consumer's thread. The loop appends, the thread takes."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.kafka.record import Committed, Place


class Commit(NamedTuple):
    """`faults_met`: read faults that the handler had met: an offset from before one counts in another log."""

    offsets: Mapping[Place, Committed]
    faults_met: int


class Gap(NamedTuple):
    """Nothing was read from `begin` up to `end`."""

    place: Place
    begin: int
    end: int


class Requests:
    """Appending to a deque and taking from its other end need no lock."""

    __slots__ = ("closing", "commits", "gaps")

    def __init__(self) -> None:
        self.commits: deque[Commit] = deque()
        self.gaps: deque[Gap] = deque()
        self.closing = threading.Event()
