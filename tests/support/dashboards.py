"""The dashboards of ops/grafana, and their queries as Grafana sends them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg

from tests.support.processes import ROOT

GRAFANA = ROOT / "ops" / "grafana"
ROLE = "hookline_reader"
MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Choices of a viewer: times in seconds since the epoch, the distance of two points, one application.

    `subscription_id`: `all` for every subscription of the application.
    """

    first_s: int
    last_s: int
    step_s: int
    application_id: str = ""
    subscription_id: str = "all"


def read_dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards, by the name of their file."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))}


def fill_in_promql(expression: str, *, rate_interval: str = "30s") -> str:
    """A query of Prometheus, of all processes."""
    return expression.replace("$__rate_interval", rate_interval).replace("$instance", ".*")


def fill_in_sql(query: str, view: View) -> str:
    """A query of PostgreSQL: Grafana quotes values that are marked with `sqlstring`."""
    values = {
        "${application:sqlstring}": quote(view.application_id),
        "${subscription:sqlstring}": quote(view.subscription_id),
        "$__interval_ms": str(view.step_s * MS),
        "$__unixEpochFrom()": str(view.first_s),
        "$__unixEpochTo()": str(view.last_s),
    }
    for name, value in values.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


@contextmanager
def reading_as_grafana(database: str) -> Iterator[str]:
    """Run `reader.sql` as psql would, for a role of this test's own, which is dropped in the end; its URL."""
    role, password = f"{ROLE}_{uuid4().hex[:8]}", "it's a password"
    text = re.sub(r"^\\.*$", "", (GRAFANA / "reader.sql").read_text(), flags=re.MULTILINE)
    statements = text.replace(ROLE, role).replace(":'password'", quote(password))
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(2):  # it may be run again
            connection.execute(statements.encode())
        try:
            yield psycopg.conninfo.make_conninfo(database, user=role, password=password)
        finally:
            connection.execute(f"drop owned by {role}".encode())
            connection.execute(f"drop role {role}".encode())


def quote(value: str) -> str:
    """A literal of SQL, as Grafana's `sqlstring` writes it."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
