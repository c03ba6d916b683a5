"""A wall clock for the Python of a process that a test sets while the process runs; what C libraries see stays right.

libfaketime shifts it for them as well, but not in all of their waits: a Kafka client that is made just then hangs in
its constructor, with the interpreter's lock. Nothing of the product is replaced: the interpreter loads this as it
starts.
"""

from collections.abc import Mapping
from pathlib import Path

SITE = """
import datetime, os, time

def shift(seconds, nanoseconds, path=os.environ["SHIFTED_CLOCK"]):
    def read():
        with open(path) as file:
            return float(file.read())
    time.time = lambda: seconds() + read()
    time.time_ns = lambda: nanoseconds() + int(read() * 1e9)

def shift_datetime(right):
    class Kind(type):
        def __call__(cls, *values, **members):
            return right(*values, **members)

        def __instancecheck__(cls, value):
            return isinstance(value, right)

    class Shifted(right, metaclass=Kind):
        __slots__ = ()

        @classmethod
        def now(cls, tz=None):
            return right.fromtimestamp(time.time(), tz)

    datetime.datetime = Shifted

shift(time.time, time.time_ns)
shift_datetime(datetime.datetime)
"""


class PythonClock:
    """`environ`: what a process that has this clock is started with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "shift"
        (folder / "sitecustomize.py").write_text(SITE)
        self.set(0)

    def set(self, shift_s: float) -> None:
        """Put the process so many seconds ahead (behind, when negative) from now on."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{shift_s:.0f}")
        partial.rename(self._file)

    @property
    def environ(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self._folder), "SHIFTED_CLOCK": str(self._file)}
