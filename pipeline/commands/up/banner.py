"""The text for a person once everything runs: addresses, and a line to paste. Pure."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from pipeline.commands.up.demo import EVENT_TYPES, LABELS
from pipeline.commands.up.report import Report

HEAD_STYLE = "bold green"
NAME_STYLE = "cyan"
DEFAULT_DATA_DIR = Path(".hookline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Facts for the banner beside the report. `master_key`: where that key is, in words.

    `program`: `hookline` as it is to be typed here. `profile`: if the data is in that profile's own directory.
    """

    data_dir: Path
    logs: Path
    master_key: str
    seconds: float
    program: str = "hookline"
    profile: str | None = None


def format_banner(report: Report, around: Surroundings, now: datetime) -> Text:
    """The banner; without its styles where there is no terminal."""
    text = Text()
    text.append(f"\nHookline runs (started in {around.seconds:.1f} s).\n\n", style=HEAD_STYLE)
    _add_rows(text, _list_places(report, around))
    if report.application_id:
        text.append("\nSend an event:\n\n", style=HEAD_STYLE)
        text.append(f"  {format_curl(report, now)}\n\n")
        text.append(f"or shorter:  {_format_send(around)}\n")
    text.append(f"\nOther commands find it as well, for example:  {_format_command(around, 'ledger')}\n")
    if report.application_id:
        text.append(
            "\nWhat the demo subscription receives is shown below. Ctrl-C stops everything.\n", style=HEAD_STYLE
        )
    else:
        text.append("\nCtrl-C stops everything.\n", style=HEAD_STYLE)
    return text


def format_curl(report: Report, now: datetime) -> str:
    """A line for the shell that sends one event of the demo."""
    event = {
        "application_id": report.application_id,
        "event_type": EVENT_TYPES[0],
        "payload": json.dumps({"order": 42, "total": "19.90"}),
        "payload_content_type": "application/json",
        "occurred_at": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "labels": LABELS,
    }
    words = ["curl", "-X", "POST", f"{report.api}/event"]
    words += ["-H", f"Authorization: Bearer {report.application_secret}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(event)])


def _list_places(report: Report, around: Surroundings) -> Mapping[str, str]:
    rows = {"API": report.api, "master key": around.master_key}
    if report.application_id:
        rows |= {
            "application": report.application_id,
            "its secret": report.application_secret,
            "subscription": report.subscription_id,
            "its secret ": report.subscription_secret,
            "receiver": f"{report.receiver} (hookline listen)",
        }
    rows |= {"Kafka": report.kafka, "PostgreSQL": _hide_password(report.database_url)}
    rows |= {f"metrics of {name}": url for name, url in report.metrics.items()}
    return rows | {"logs": str(around.logs), "data": str(around.data_dir), "profile": report.profile}


def _add_rows(text: Text, rows: Mapping[str, str]) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        text.append(f"  {name.strip():<{width}}  ", style=NAME_STYLE)
        text.append(f"{value}\n")


def _format_send(around: Surroundings) -> str:
    payload = shlex.quote('{"hello":"world"}')
    return f"{_format_command(around, 'send')} {payload}"


def _format_command(around: Surroundings, name: str) -> str:
    words = [around.program, name]
    if around.profile is not None:
        words += ["--profile", around.profile]
    elif around.data_dir != DEFAULT_DATA_DIR.absolute():
        words += ["--data-dir", str(around.data_dir)]
    return shlex.join(words)


def _hide_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}"
