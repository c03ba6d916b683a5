"""A wall clock for a process that a test sets while the process runs, by libfaketime. The monotonic clock stays right.

To be set after the start: librdkafka's first waits hang when its clock is wrong from the beginning, and those under way
when it is set back, as they do on a real machine: they end at a time of the wall clock.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import libfaketime


class Clock:
    """`environ`: what a process that has this clock is started with."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    def set(self, shift_s: float) -> None:
        """From now on the process is so many seconds ahead (behind, when negative)."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{shift_s:+.0f}\n")
        partial.rename(self._file)

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(files(libfaketime) / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
