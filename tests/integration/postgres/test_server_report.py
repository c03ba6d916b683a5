"""`hookline db report` on a real PostgreSQL."""

import asyncio
import json
import os
import sys
from typing import Any

import psycopg

from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ


async def run_report(database: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pipeline.cli", "db", "report", *arguments),
        cwd=ROOT,
        env=select_environ(os.environ) | {"HOOKLINE_DATABASE_WRITE_URL": database},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()


async def test_the_report_shows_what_is_there(database: str) -> None:
    """A session idle in a transaction, a table with dead rows, an unused index; a missing extension is named."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table filled (n int) with (autovacuum_enabled = false)")
        connection.execute("create index never_used on filled (n)")
        connection.execute("insert into filled select generate_series(1, 1000)")
        connection.execute("delete from filled")
    with psycopg.connect(database, application_name="another") as connection:
        connection.execute("select 1")

        async def find() -> dict[str, Any]:
            report: dict[str, Any] = json.loads(await run_report(database, "--json", "--limit", "500"))
            assert "filled" in {row["table"] for row in report["dead_rows"]}
            return report

        found = await eventually(find, timeout_s=120)  # a session tells its counts when it ends, or a moment later
        text = await run_report(database)
    (session,) = [row for row in found["activity"] if row["session"] == "another"]
    (dead,) = [row for row in found["dead_rows"] if row["table"] == "filled"]

    assert ("idle in transaction", 1) == (session["state"], session["sessions"])
    assert session["longest_transaction_s"] >= 0
    assert 1000 == dead["dead_rows"]
    assert "filled" in {row["partition"] for row in found["sizes"]}
    assert "events" in {row["of"] for row in found["sizes"]}
    assert "never_used" in {row["index"] for row in found["unused_indexes"]}
    assert found["server"]["database_bytes"] > 0
    assert ("pg_stat_statements is not there" in text) == (found["statements"] is None)
    assert "Sessions: who is connected" in text
