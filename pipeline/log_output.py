"""Where log lines go: standard error, line by line. What cannot be written, on a full disk for example, is left out.

A process that ended because it could not say something would turn a lack of space into an outage.
"""

import contextlib
import sys
from typing import Any


class LogOutput:
    """A stream for loggers. Raises nothing."""

    def __init__(self) -> None:
        # Unbuffered where that is possible: what stays in a buffer fails again later, and at the end of the process.
        self._raw: Any = getattr(getattr(sys.stderr, "buffer", None), "raw", None)

    def write(self, text: str) -> int:
        """Write the text, or as much of it as there is room for."""
        with contextlib.suppress(OSError):
            if self._raw is None:
                sys.stderr.write(text)
            else:
                left = text.encode(errors="backslashreplace")
                while left:
                    left = left[self._raw.write(left) or len(left) :]
        return len(text)

    def flush(self) -> None:
        """Flush stderr where it is buffered."""
        if self._raw is None:
            with contextlib.suppress(OSError):
                sys.stderr.flush()

    def isatty(self) -> bool:
        """Does stderr go to a terminal?"""
        return sys.stderr.isatty()
