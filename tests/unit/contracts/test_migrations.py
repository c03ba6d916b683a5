"""Processes of the release before work beside the migrations of this one, which neither take away nor lock anything."""

import re
from pathlib import Path

import pytest

from tests.unit.contracts.repository import ROOT

FOLDER = ROOT / "pipeline" / "postgres" / "sql"
MIGRATIONS = sorted(path for path in FOLDER.glob("*.sql") if not path.name.endswith(".rollback.sql"))
# what an older process reads or writes must stay where it is
BREAKING = (
    r"drop\s+(table|column)",
    r"\brename\b",
    r"alter\s+column\s+\w+\s+(set\s+data\s+)?type",
    r"set\s+not\s+null",
    r"add\s+column\s+(if\s+not\s+exists\s+)?\w+(?![^,;]*\bdefault\b)[^,;]*\bnot\s+null",
)

# made before a release was installed anywhere: their tables had few rows, or none
LOCKING_BUT_EARLIER = frozenset(
    (
        "0010.archive_positions",
        "0012.events_by_log",
        "0020.routes_in_parts",
        "0071.ended_versions",
        "0080.dead_letters_newest",
        "0103.telling",
        "0222.letters_to_tell",
        "0230.attempts_to_tell",
        "0242.retry_schedules",
    )
)


def find_breaking(sql: str) -> list[str]:
    """Find the statements that a process of the release before cannot live with."""
    text = re.sub(r"--[^\n]*", "", sql).lower()
    return [found.group() for pattern in BREAKING for found in re.finditer(pattern, text)]


def find_locking(sql: str) -> list[str]:
    """Find the statements that keep writers of a table waiting until all of its rows were read or written."""
    text = re.sub(r"--[^\n]*", "", sql).lower()
    made = set(re.findall(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", text))
    indexes = re.finditer(
        r"create\s+(?:unique\s+)?index\s+(concurrently\s+)?(?:if\s+not\s+exists\s+)?(?:\w+\s+)?on\s+(only\s+)?(\w+)",
        text,
    )
    # `only`: of a divided table, without its parts
    found = [each.group() for each in indexes if each[1] is None and each[2] is None and each[3] not in made]
    for change in re.finditer(r"alter\s+table\s+(?:only\s+)?(\w+)[^;]*", text):
        is_checked = re.search(r"add\s+(constraint|check|foreign|unique|primary)", change.group())
        is_allowed = "not valid" in change.group() or "using index" in change.group()
        is_filled = re.search(r"\bdefault\s+(?!(?:now|current_timestamp)\b)\w+\s*\(", change.group())
        if change[1] not in made and ((is_checked and not is_allowed) or is_filled):
            found.append(change.group())
    return found


@pytest.mark.parametrize("path", MIGRATIONS, ids=[path.stem for path in MIGRATIONS])
def test_a_migration_only_adds(path: Path) -> None:
    """A migration takes no column away and adds none that an older process would have to fill."""
    assert [] == find_breaking(path.read_text())


@pytest.mark.parametrize("path", MIGRATIONS, ids=[path.stem for path in MIGRATIONS])
def test_a_migration_locks_no_table_for_long(path: Path) -> None:
    """Indexes of tables that are there are made concurrently, constraints are added without looking at all rows."""
    assert (path.stem in LOCKING_BUT_EARLIER) == bool(find_locking(path.read_text()))


@pytest.mark.parametrize(
    "sql",
    [
        "create index a_b on a (b);",
        "create unique index on a (b);",
        "alter table a add constraint c check (b > 0);",
        "alter table a add constraint c foreign key (b) references d;",
        "alter table a add column b uuid default gen_random_uuid();",
        "alter table a add primary key (b);",
    ],
)
def test_what_locks_is_found(sql: str) -> None:
    """The check above can fail."""
    assert find_locking(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "create table a (b int); create index a_b on a (b); alter table a add constraint c check (b > 0);",
        "create index concurrently a_b on a (b);",
        "create index a_b on only a (b);",
        "alter table a add constraint c check (b > 0) not valid;",
        "alter table a add constraint c unique using index a_b;",
        "alter table a add column b timestamptz default now();",
    ],
)
def test_what_locks_for_a_moment_is_not_found(sql: str) -> None:
    """Indexes of new tables, those made concurrently, and constraints that look at new rows only."""
    assert [] == find_locking(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "alter table a drop column b;",
        "drop table a;",
        "alter table a rename column b to c;",
        "alter table a alter column b type bigint;",
        "alter table a alter column b set not null;",
        "alter table a add column b int not null;",
        "alter table a add column b int default 1, add column c int not null;",
    ],
)
def test_what_breaks_is_found(sql: str) -> None:
    """The check above can fail."""
    assert find_breaking(sql)


def test_what_adds_is_not_found() -> None:
    """Columns with a default, or that may be null."""
    sql = "alter table a add column b int, add column c int not null default 0; create table d (e int not null);"

    assert [] == find_breaking(sql)
