import json
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.staging.installation import find_installation
from pipeline.commands.up.report import Report, write_report


def test_what_runs_in_a_data_directory_is_found(tmp_path: Path) -> None:
    """The installation comes from the report of `hookline up`; the gateways' addresses come from their own files."""
    (tmp_path / "run").mkdir()
    report = Report(
        api="http://127.0.0.1:8080/api/v1",
        master_api_key="7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a11",
        kafka="127.0.0.1:9092",
        database_url="postgresql://127.0.0.1/hookline",
        metrics={"gateway": "http://127.0.0.1:9000/metrics"},
        pids={"gateway": [11, 12], "kafka": [13]},
    )
    write_report(tmp_path, report)
    for pid, port in ((11, 8080), (12, 8081)):
        announced = {"pid": pid, "name": "gateway", "api": f"http://127.0.0.1:{port}/api/v1", "metrics": "x"}
        (tmp_path / "run" / f"gateway.{pid}.json").write_text(json.dumps(announced))
    found = find_installation(tmp_path)

    assert ("http://127.0.0.1:8080/api/v1", "http://127.0.0.1:8081/api/v1") == found.apis
    assert (report.api, report.master_api_key, report.kafka, report.database_url) == (
        found.api,
        found.master_api_key,
        found.kafka,
        found.database_url,
    )
    assert (report.metrics, report.pids) == (found.metrics, found.pids)
    assert tmp_path / "kafka" == found.kafka_dir


def test_where_nothing_runs_is_told(tmp_path: Path) -> None:
    """The error differs from that of an installation without anything."""
    with pytest.raises(BenchError, match="no `hookline up` runs in"):
        find_installation(tmp_path)
