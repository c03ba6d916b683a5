"""A million rows: how long the ledger takes, and that an export stays flat. Prints its figures (`pytest -s`)."""

import os
import sys
import time

import aiohttp
import psutil
import psycopg
from pydantic import SecretStr

from pipeline.postgres.archive.filling import fill_archive
from pipeline.postgres.pool import open_pool
from tests.integration.archive.tables import configure
from tests.support.commands import run_ledger
from tests.support.stack import MASTER_KEY, run_stack

ROWS = int(os.environ.get("HOOKLINE_TEST_LARGE_ROWS", "1000000"))
TYPE = "billing.invoice.paid"
GROWTH_MAX_BYTES = 48 * 1024**2


async def test_a_million_rows(kafka: str, postgres: str, migrated_template: str) -> None:
    """The ledger adds up over all of them; a gateway exports as many events, and does not grow."""
    settings = {"ARCHIVE_LEDGER_INTERVAL_S": "0"}
    async with run_stack(kafka, postgres, migrated_template, "gateway", "archive", **settings) as stack:
        space = await stack.api.make_space(TYPE)
        pool = await open_pool(configure(stack.database_url), SecretStr(stack.database_url), name="fill")
        try:
            await fill_archive(pool, ROWS, now_us=time.time_ns() // 1000, progress=lambda _: None)
        finally:
            await pool.close()
        code, books = await run_ledger(stack, "--wait", "120")
        sys.stdout.write(f"ledger over {ROWS} rows: {books['seconds']} s, {books['total']}\n")

        assert 0 == code, books
        assert ROWS // 4 == books["total"]["events"] == books["total"]["delivered"]

        fill_events(stack.database_url, space.application_id)
        process = psutil.Process(stack.processes["gateway"][0].pid)
        begun_s, begun_bytes, most_bytes, lines, size = time.monotonic(), process.memory_info().rss, 0, 0, 0
        url = f"{stack.api.url}/events/export?application_id={space.application_id}"
        headers = {"Authorization": f"Bearer {MASTER_KEY}", "Accept-Encoding": "identity"}
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, headers=headers) as response:
            async for chunk in response.content.iter_chunked(1 << 20):
                lines += chunk.count(b"\n")
                size += len(chunk)
                most_bytes = max(most_bytes, process.memory_info().rss)
        grown_mib = (most_bytes - begun_bytes) / 1024**2
        sys.stdout.write(
            f"export of {lines} events: {size / 1024**2:.0f} MiB in {time.monotonic() - begun_s:.1f} s, "
            f"the gateway grew by {grown_mib:.1f} MiB\n"
        )

    assert ROWS == lines
    assert most_bytes - begun_bytes < GROWTH_MAX_BYTES


def fill_events(database: str, application_id: str) -> None:
    """Events of one application, of today."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into events (day, application_id, event_id, event_type, payload, payload_compressed, "
            "payload_content_type, labels, metadata, occurred_at_us, received_at_us, appended_at_us, "
            "event_partition, event_offset) "
            "select (now() at time zone 'utc')::date, %s, gen_random_uuid(), %s, convert_to(md5(n::text), 'utf8'), "
            "false, 'text/plain', '{}', '{}', n, n, n, 0, n from generate_series(1, %s) n",
            (application_id, TYPE, ROWS),
        )
