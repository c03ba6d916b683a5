"""A bounded spool of payloads: a file without a name, mapped once, from which all deliveries of an event are sent.

Mapped pages are no memory of the process' own: the kernel writes them out and reads them again as it needs room. Bytes
are written by a call, not through the mapping, so that a full disk is an error and not a signal. Where there is no disk
the bytes are kept in memory, within the same bound.
"""

import mmap
import os
import tempfile
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Spooled:
    """One payload. `at`: its place in the file; None: it is in memory. `users`: deliveries that are being sent."""

    owner: Hashable
    payload: bytes | memoryview
    at: int | None
    users: int = 0
    is_dropped: bool = False

    @property
    def size(self) -> int:
        return len(self.payload)


class Spool:
    """Payloads by key. A payload in use stays; of the others the ones used longest ago make room.

    Applications share it by a dynamic threshold (`core/lanes/budget.py`): each may use as much as is still free. All
    methods are for the loop, but `write`, which may wait for a disk.
    """

    def __init__(self, max_bytes: int, directory: Path | None) -> None:
        """`directory`: None for the system's own for temporary files."""
        self._max_bytes = max_bytes
        self._file = SpoolFile(max_bytes, directory)
        self._spooled: OrderedDict[Hashable, Spooled] = OrderedDict()  # used last at the end
        self._free: list[tuple[int, int]] = [(0, max_bytes)]  # begin and end, in order
        self._reserved_bytes = 0
        self._size_bytes = 0
        self._used_by: dict[Hashable, int] = {}

    @property
    def used_bytes(self) -> int:
        """The size of all payloads in use."""
        return sum(self._used_by.values())

    def admits(self, owner: Hashable, size: int) -> bool:
        """May this application use another payload of this size? The first payload of all always may."""
        used = self.used_bytes
        return not used or self._used_by.get(owner, 0) + size <= self._max_bytes - used

    def find(self, key: Hashable) -> Spooled | None:
        """The payload; None: it is not here."""
        spooled = self._spooled.get(key)
        if spooled is not None:
            self._spooled.move_to_end(key)
        return spooled

    def reserve(self, size: int, *, may_evict: bool) -> int | None:
        """A place in the file; None: there is none. To be followed by `add` or `release`."""
        while (at := self._find_place(size)) is None:
            idle = next((key for key, spooled in self._spooled.items() if not spooled.users), None)
            if idle is None or not may_evict:
                return None
            self.drop(idle)
        self._reserved_bytes += size
        return at

    def write(self, at: int, payload: bytes) -> memoryview | None:
        """Write to a reserved place; returns the mapped payload, or None without a disk. For any one thread."""
        return self._file.write(at, payload)

    def release(self, at: int, size: int) -> None:
        """A reserved place is not needed."""
        self._reserved_bytes -= size
        self._give_back(at, size)

    def add(self, key: Hashable, owner: Hashable, payload: bytes | memoryview, at: int | None) -> Spooled:
        """Keep a payload, as it is mapped at its reserved place, or (`at` is None) in memory."""
        size = len(payload)
        if at is not None:
            self._reserved_bytes -= size
        self.drop(key)
        spooled = self._spooled[key] = Spooled(owner, payload, at)
        self._size_bytes += size
        return spooled

    def begin(self, spooled: Spooled) -> None:
        """Note that a delivery is being sent: its payload is kept."""
        if not spooled.users:
            self._used_by[spooled.owner] = self._used_by.get(spooled.owner, 0) + spooled.size
        spooled.users += 1

    def end(self, spooled: Spooled) -> None:
        """Note that the delivery's request has ended."""
        spooled.users -= 1
        if spooled.users:
            return
        self._used_by[spooled.owner] -= spooled.size
        if not self._used_by[spooled.owner]:
            del self._used_by[spooled.owner]
        if spooled.is_dropped:
            self._free_place(spooled)

    def drop(self, key: Hashable) -> None:
        """Forget a payload. The place of one in use is free when that ends."""
        spooled = self._spooled.pop(key, None)
        if spooled is None:
            return
        spooled.is_dropped = True
        if not spooled.users:
            self._free_place(spooled)

    def close(self) -> None:
        """Close the file; its mapping goes with the last payload that is looked at."""
        self._file.close()

    def _find_place(self, size: int) -> int | None:
        if self._size_bytes + self._reserved_bytes + size > self._max_bytes:
            return None
        for index, (begin, end) in enumerate(self._free):
            if end - begin >= size:
                self._free[index : index + 1] = [(begin + size, end)] if end - begin > size else []
                return begin
        return None

    def _free_place(self, spooled: Spooled) -> None:
        self._size_bytes -= spooled.size
        if spooled.at is not None:
            self._give_back(spooled.at, spooled.size)

    def _give_back(self, at: int, size: int) -> None:
        merged: list[tuple[int, int]] = []
        for begin, end in sorted([*self._free, (at, at + size)]):
            if merged and merged[-1][1] == begin:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((begin, end))
        self._free = merged


class SpoolFile:
    """A file without a name, which goes with its process however that ends. Made with the first payload."""

    def __init__(self, max_bytes: int, directory: Path | None) -> None:
        self._max_bytes = max_bytes
        self._directory = directory
        self._opened: tuple[int, mmap.mmap] | None = None
        self._is_well = True

    def write(self, at: int, payload: bytes) -> memoryview | None:
        """The payload as it is mapped; None: there is no disk to write to. What changes is logged."""
        try:
            descriptor, mapped = self._opened = self._opened or self._open()
            written = 0
            while written < len(payload):
                written += os.pwrite(descriptor, memoryview(payload)[written:], at + written)
        except (OSError, ValueError) as error:
            if self._is_well:
                log.warning("spool_in_memory", reason=str(error))
            self._is_well = False
            return None
        if not self._is_well:
            log.info("spool_on_disk")
        self._is_well = True
        return memoryview(mapped)[at : at + len(payload)]

    def close(self) -> None:
        """Give the file back."""
        if self._opened is not None:
            os.close(self._opened[0])
        self._opened = None

    def _open(self) -> tuple[int, mmap.mmap]:
        with tempfile.TemporaryFile(dir=self._directory, prefix="hookline-") as file:
            file.truncate(self._max_bytes)
            mapped = mmap.mmap(file.fileno(), self._max_bytes, access=mmap.ACCESS_READ)
            return os.dup(file.fileno()), mapped
