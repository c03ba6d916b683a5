"""The standard streams of a command: there, and able to take any text."""

import os
import sys
from typing import TextIO

NAMES = ("stdin", "stdout", "stderr")


def prepare_streams() -> None:
    """Open streams that the caller has closed (`<&-`, `>&-`), and let none refuse a character that it cannot show."""
    for number, name in enumerate(NAMES):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            # The lowest free number is this one: a connection that got it would be written to as if it were the stream.
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r")
            setattr(sys, name, stream)
        if number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
