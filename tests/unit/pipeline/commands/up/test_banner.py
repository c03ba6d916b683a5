import json
import shlex
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline.commands.up.banner import Surroundings, format_banner, format_curl
from pipeline.commands.up.demo import EVENT_TYPES
from pipeline.commands.up.report import Report
from pipeline.commands.up.running import find_program

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPORT = Report(
    api="http://127.0.0.1:8080/api/v1",
    organization_id="the organization",
    application_id="the application",
    application_secret="the application's secret",
    subscription_id="the subscription",
    subscription_secret="the subscription's secret",
    receiver="http://127.0.0.1:20001/",
    master_api_key="the master key",
    kafka="127.0.0.1:20002",
    database_url="postgresql://hookline:p4ss@127.0.0.1:20003/hookline",
    metrics={"deliver": "http://127.0.0.1:1/metrics", "deliver.2": "http://127.0.0.1:2/metrics"},
    pids={},
)
WITHOUT_DEMO = Report(
    api=REPORT.api,
    master_api_key=REPORT.master_api_key,
    kafka=REPORT.kafka,
    database_url=REPORT.database_url,
    metrics={},
    pids={},
)


def make_banner(report: Report, data_dir: Path = Path("/data")) -> str:
    around = Surroundings(data_dir=data_dir, logs=data_dir / "logs", master_key="in a file", seconds=7.25)
    return format_banner(report, around, NOW).plain


def test_the_curl_line_is_a_whole_event() -> None:
    """Pasted into a shell it has every member that the API requires, with the payload as a string of JSON."""
    words = shlex.split(format_curl(REPORT, NOW.astimezone(timezone(timedelta(hours=2)))))

    assert ["curl", "-X", "POST", "http://127.0.0.1:8080/api/v1/event"] == words[:4]
    assert "Authorization: Bearer the application's secret" in words
    event = json.loads(words[words.index("-d") + 1])
    assert {
        "application_id": "the application",
        "event_type": EVENT_TYPES[0],
        "payload": '{"order": 42, "total": "19.90"}',
        "payload_content_type": "application/json",
        "occurred_at": "2026-03-01T12:00:00Z",
        "labels": {"environment": "demo"},
    } == event


def test_everything_that_one_looks_for_is_there() -> None:
    """Addresses, ids, secrets of the demo, logs, and how to stop."""
    banner = make_banner(REPORT)

    for text in (
        *("http://127.0.0.1:8080/api/v1", "the application", "the application's secret", "the subscription"),
        *("the subscription's secret", "http://127.0.0.1:20001/", "127.0.0.1:20002", "metrics of deliver.2"),
        *("/data/logs", "in a file", "Ctrl-C", "hookline send --data-dir /data", "7.2 s"),
    ):
        assert text in banner


def test_secrets_that_open_everything_are_not_shown() -> None:
    """The master key and the database's password: people share their screens."""
    banner = make_banner(REPORT)

    assert "the master key" not in banner
    assert "p4ss" not in banner
    assert "postgresql://hookline@127.0.0.1:20003/hookline" in banner


def test_without_a_demo_there_is_nothing_to_paste() -> None:
    """No curl line with empty ids."""
    banner = make_banner(WITHOUT_DEMO)

    assert "curl" not in banner
    assert "subscription" not in banner
    assert "Ctrl-C" in banner


def test_the_usual_place_need_not_be_named() -> None:
    """The shorter line is as short as can be."""
    assert """or shorter:  hookline send '{"hello":"world"}'""" in make_banner(REPORT, Path(".hookline").absolute())


def test_a_profile_is_named_by_its_name() -> None:
    """The lines to paste are short where the data is in the profile's own directory."""
    around = Surroundings(data_dir=Path("/data/shop"), logs=Path("/logs"), master_key="", seconds=1.0, profile="shop")

    assert "hookline ledger --profile shop" in format_banner(REPORT, around, NOW).plain


def test_the_line_to_paste_is_found_by_the_shell() -> None:
    """A program that is not on the path, as after `make run`, is named as it was started."""
    around = Surroundings(
        data_dir=Path("/data"), logs=Path("/logs"), master_key="", seconds=1.0, program=".venv/bin/hookline"
    )

    assert ".venv/bin/hookline send --data-dir /data" in format_banner(REPORT, around, NOW).plain


def test_a_program_off_the_path_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path is looked through; started by Python's `-m` there is no better name than the usual one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [".venv/bin/hookline", "hookline"] == [find_program(".venv/bin/hookline"), find_program("pipeline/cli.py")]

    (tmp_path / "hookline").touch(mode=0o755)
    assert "hookline" == find_program(".venv/bin/hookline")
