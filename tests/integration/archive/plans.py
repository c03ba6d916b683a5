"""The plans that PostgreSQL really used, by its own auto_explain: what was read, by which kind of scan."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from pipeline.postgres.pool import Pool, open_pool
from tests.integration.archive.tables import configure
from tests.support.postgres import name_of

SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
    # plans of large tables: fewer rows than it takes to make them worth while by themselves
    "random_page_cost": "1.1",
    "jit": "off",
}


class Plans:
    """Plans of one pool's connection, collected since the last `clear`."""

    def __init__(self) -> None:
        self._plans: list[dict[str, Any]] = []

    def clear(self) -> None:
        self._plans.clear()

    def take(self, notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found:
            self._plans.append(json.loads(plan)["Plan"])

    def scans(self) -> list[dict[str, Any]]:
        """Every node that reads a table, and was executed."""
        return [
            node for plan in self._plans for node in _walk(plan) if "Relation Name" in node and node["Actual Loops"]
        ]

    def whole(self) -> list[str]:
        """Partitions with rows that were read from end to end."""
        return [node["Relation Name"] for node in self.scans() if node["Node Type"] == "Seq Scan" and _count(node)]

    def partitions(self, table: str) -> set[str]:
        """Partitions of `table` that were touched, the default one apart."""
        names = {node["Relation Name"] for node in self.scans()}
        return {name for name in names if name.startswith(f"{table}_2")}

    def rows(self) -> int:
        """Rows that were read, whether they were of use or not."""
        return sum(_count(node) for node in self.scans())


@asynccontextmanager
async def open_explained(database: str, *, is_bare: bool = False) -> AsyncIterator[tuple[Pool, Plans]]:
    """A pool of one connection that tells of its plans. `is_bare`: as the API's lists and look-ups use it."""
    with psycopg.connect(database, autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(
                SQL("alter database {} set {} = {}").format(Identifier(name_of(database)), SQL(name), Literal(value))
            )
    plans = Plans()
    pool = await open_pool(configure(database), SecretStr(database), name="plans", size_max=1, is_bare=is_bare)
    try:
        async with pool.connection() as connection:
            connection.add_notice_handler(plans.take)
        yield pool, plans
    finally:
        await pool.close()


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _count(node: dict[str, Any]) -> int:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])
