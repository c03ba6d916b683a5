"""Writes the references that the code knows by heart: docs/settings.md and docs/topics.md. `make docs` runs it.

A unit test renders them again and compares: a setting, a topic or a record's field is documented, or a test fails.
"""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipeline.config import PREFIX, Settings
from pipeline.setting_rows import HIDDEN, SettingRow, list_rows
from pipeline.topics import Topic, declare_topics_for
from schemas import NAMES

DOCS = Path(__file__).resolve().parent
RENEWED_BY = "<!-- Written by `make docs`; change the code, not this page. -->"
DAY_S = 86_400


def render_settings() -> str:
    """docs/settings.md."""
    rows = list_rows(Settings(), frozenset())
    lines = [
        "# Settings",
        RENEWED_BY,
        "",
        "A setting is an environment variable. `hookline settings` shows this list with the present values (secrets",
        "are not shown). An unknown variable that starts with `HOOKLINE_`, or a value out of bounds, stops every",
        "process at its start with exit code 2 and a message that names it. Every process reads all of them and uses",
        "its own.",
        "",
        "Commands that are not processes find a running `hookline up` and have its settings, unless",
        "`HOOKLINE_KAFKA_BOOTSTRAP_SERVERS` or `HOOKLINE_DATABASE_WRITE_URL` name another installation",
        "([operating](operating.md#which-installation-a-command-works-on)).",
    ]
    for section, members in groupby(rows, key=lambda row: row.section):
        lines += ["", f"## {section.rstrip('.')}", *_table(("variable", "meaning", "default", "unit, bounds"))]
        lines += [_row(_describe_setting(row)) for row in members]
    return "\n".join(lines) + "\n"


def render_topics() -> str:
    """docs/topics.md."""
    kafka = Settings().kafka
    topics = declare_topics_for(kafka)
    lines = [
        "# Topics and records",
        RENEWED_BY,
        "",
        "Names, partitions and retention as they are with the default settings. `hookline topics plan` compares a",
        "cluster with them, `hookline topics apply` creates what is missing. Topics with the same key share the",
        "partitioner (murmur2, as in Java clients) and the number of partitions, so that all of one key meets",
        "in one process. Records are Avro in single-object encoding: two marker bytes, the schema's fingerprint, the",
        "body.",
        "",
        *_table(("topic", "records", "key", "kept", "partitions")),
        *(_row(_describe_topic(topic)) for topic in topics.all()),
    ]
    for name in NAMES:
        lines += _describe_record(name)
    return "\n".join(lines) + "\n"


def _describe_setting(row: SettingRow) -> Iterable[str]:
    limits = ", ".join(part for part in (row.unit, row.bounds) if part)
    # a default is in the source for all to read, also where a value given instead of it would be a secret
    default = _find_default(row.variable) if row.default == HIDDEN else row.default
    return (f"`{row.variable}`", row.meaning, f"`{default}`" if default is not None else "none", limits)


def _find_default(variable: str) -> str:
    section, _, name = variable.removeprefix(PREFIX).lower().partition("_")
    value: SecretStr = getattr(getattr(Settings(), section), name)
    return value.get_secret_value()


def _describe_topic(topic: Topic) -> Iterable[str]:
    kept = "compacted: the newest of each key" if topic.retention_s is None else _describe_days(topic.retention_s)
    if topic.delay_s:
        kept += f"; read after {topic.delay_s} s"
    records = ", ".join(f"[{name}](#{name})" for name in topic.records)
    return (f"`{topic.name}`", records, topic.key, kept, str(topic.partitions))


def _describe_days(seconds: int) -> str:
    return f"{seconds // DAY_S} days" if seconds % DAY_S == 0 else f"{seconds} s"


def _describe_record(name: str) -> Iterator[str]:
    # the newest version is what producers write
    folder = files("schemas").joinpath(name)
    newest = max(
        (path.name for path in folder.iterdir() if path.name.endswith(".avsc")), key=lambda file: int(file[1:-5])
    )
    schema: dict[str, Any] = json.loads(folder.joinpath(newest).read_text())
    yield from ("", f"## {name}", schema["doc"] + f" Schema: [{newest}](../schemas/{name}/{newest}).", "")
    yield from _table(("field", "type", "meaning"))
    for field in schema["fields"]:
        yield _row((f"`{field['name']}`", _describe_type(field["type"]), field.get("doc", "")))


def _describe_type(kind: Any) -> str:
    match kind:
        case str():
            return kind
        case ["null", other]:
            return f"{_describe_type(other)} or null"
        case {"type": "array", "items": items}:
            return f"list of {_describe_type(items)}"
        case {"type": "map", "values": values}:
            return f"map of {_describe_type(values)}"
        case {"type": "record", "fields": fields}:
            return f"({', '.join(field['name'] + ': ' + _describe_type(field['type']) for field in fields)})"
        case {"type": "enum", "symbols": symbols}:
            return f"one of {', '.join(symbols)}"
        case _:
            raise TypeError(f"this page cannot describe the Avro type {kind!r} yet")


def _table(head: tuple[str, ...]) -> tuple[str, str]:
    return _row(head), "|" + "---|" * len(head)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {"settings.md": render_settings, "topics.md": render_topics}


def main() -> None:
    """Write every page."""
    for name, render in PAGES.items():
        (DOCS / name).write_text(render())


if __name__ == "__main__":
    main()
