"""The report of `hookline up --json` once everything runs. It also lies in the data directory while it runs."""

from pathlib import Path

import msgspec

from pipeline.commands.up.data_directory import run_dir
from pipeline.embedded.data_dir import write_private

FILE_NAME = "report.json"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, ids and secrets; a demo's are empty without one. `metrics`: by process; `pids`: by name.

    `profile`: the name by which commands find it.
    """

    api: str
    organization_id: str = ""
    application_id: str = ""
    application_secret: str = ""
    subscription_id: str = ""
    subscription_secret: str = ""
    receiver: str = ""
    master_api_key: str
    kafka: str
    database_url: str
    metrics: dict[str, str]
    pids: dict[str, list[int]]
    profile: str = ""
    data_dir: str = ""


def format_report(report: Report) -> str:
    """One line of JSON, without its end."""
    return msgspec.json.encode(report).decode()


def write_report(root: Path, report: Report) -> None:
    """Leave the report in the data directory, for other commands."""
    write_private(run_dir(root) / FILE_NAME, format_report(report) + "\n")


def read_report(root: Path) -> Report | None:
    """The report of a running installation's data directory; None when nothing runs, or the file cannot be read."""
    try:
        return msgspec.json.decode((run_dir(root) / FILE_NAME).read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None


def remove_report(root: Path) -> None:
    """Delete the report: the installation stops."""
    (run_dir(root) / FILE_NAME).unlink(missing_ok=True)
