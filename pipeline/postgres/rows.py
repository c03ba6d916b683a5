"""Rows of a statement, of which there may be any number."""

from typing import TypeVar

from psycopg import AsyncCursor

from pipeline.pauses import Pauses

PORTION_ROWS = 500

RowT = TypeVar("RowT")


async def fetch_rows(cursor: AsyncCursor[RowT]) -> list[RowT]:
    """All rows of an executed statement: making them is work of this process, and others have turns in between."""
    rows, pauses = [], Pauses()
    while portion := await cursor.fetchmany(PORTION_ROWS):
        rows += portion
        await pauses.take()
    return rows
