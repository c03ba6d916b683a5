import json
import stat
from pathlib import Path

import msgspec
import pytest

from pipeline.commands.up.report import Report, format_report, read_report, remove_report, write_report
from tests.support.processes import UpReport

REPORT = Report(
    api="http://127.0.0.1:1/api/v1",
    master_api_key="key",
    kafka="127.0.0.1:2",
    database_url="postgresql:///x",
    metrics={"deliver": "http://127.0.0.1:3/metrics"},
    pids={"deliver": [4]},
)


def test_the_line_is_what_scripts_read() -> None:
    """One line; without a demo its members are there and empty."""
    line = format_report(REPORT)

    assert "\n" not in line
    read = msgspec.json.decode(line, type=UpReport, strict=True)
    assert set(UpReport.__struct_fields__) == set(json.loads(line))
    assert ("", "", "") == (read.application_id, read.receiver, read.subscription_secret)
    assert {"deliver": [4]} == read.pids


def test_it_is_found_again_as_long_as_it_runs(tmp_path: Path) -> None:
    """The report holds secrets: other users may not read it."""
    (tmp_path / "run").mkdir()
    write_report(tmp_path, REPORT)

    assert REPORT == read_report(tmp_path)
    (file,) = (tmp_path / "run").iterdir()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    remove_report(tmp_path)
    remove_report(tmp_path)
    assert read_report(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_file_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    """A foreign file, or half of a report."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_bytes(content)

    assert read_report(tmp_path) is None
