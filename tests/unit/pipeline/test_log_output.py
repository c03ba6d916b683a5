"""Log lines that cannot be written harm nothing."""

import io
import sys
from pathlib import Path

import pytest

from pipeline.log_output import LogOutput


def test_a_full_disk_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither writing nor closing raises."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        text = io.TextIOWrapper(io.BufferedWriter(full))  # as sys.stderr is made
        monkeypatch.setattr(sys, "stderr", text)
        output = LogOutput()
        output.write("a line\n")
        output.flush()
        text.flush()


def test_a_line_is_written_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line that cannot be encoded is written, too."""
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(file)))
        LogOutput().write("größe \ud800\n" * 1000)

    assert "größe \\ud800\n" * 1000 == path.read_text()
