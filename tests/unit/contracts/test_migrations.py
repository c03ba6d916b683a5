"""A gateway of the release before works beside the migrations of this one."""

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


def find_breaking(sql: str) -> list[str]:
    """Find the statements that a process of the release before cannot live with."""
    text = re.sub(r"--[^\n]*", "", sql).lower()
    return [found.group() for pattern in BREAKING for found in re.finditer(pattern, text)]


@pytest.mark.parametrize("path", MIGRATIONS, ids=[path.stem for path in MIGRATIONS])
def test_a_migration_only_adds(path: Path) -> None:
    """A migration takes no column away and adds none that an older process would have to fill."""
    assert [] == find_breaking(path.read_text())


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
