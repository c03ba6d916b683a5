"""Exports: every row of some days, in flat memory; and bodies that are compressed, both ways."""

import asyncio
import base64
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import psycopg
import pytest
import zstandard

from tests.support.api import Space, describe_event
from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Receiver
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
MANY = 60_000
PAYLOAD_BYTES = 1_000
GROWTH_MAX_BYTES = 40 * 1024**2


async def export(stack: Stack, space: Space, kind: str, **query: str) -> list[dict[str, Any]]:
    reply = await stack.api.call(
        "GET", f"/{kind}/export", token=space.secret, query={"application_id": space.application_id} | query
    )
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_all_of_a_day_is_exported(stack: Stack) -> None:
    """Events with their payloads in the order of the log, attempts with what they came to; of one application."""
    space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        receiver.script("/a", FailTimes(1))
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        sent = [await stack.api.send(space, TYPE, payload=json.dumps({"n": number})) for number in range(3)]
        await stack.api.send(other, TYPE)

        async def all_attempts() -> list[dict[str, Any]]:
            attempts = await export(stack, space, "request_attempts")
            assert ["failed", "succeeded", "succeeded", "succeeded"] == sorted(each["outcome"] for each in attempts)
            return attempts

        attempts = await eventually(all_attempts, timeout_s=60)
        events = await export(stack, space, "events")
    (shown,) = [each for each in events if each["event_id"] == sent[1]]
    (failed,) = [each for each in attempts if each["outcome"] == "failed"]
    (retried,) = [each for each in attempts if each["retry_count"] == 1]

    assert sent == [each["event_id"] for each in events]
    assert b'{"n": 1}' == base64.b64decode(shown["payload"])
    assert {"all": "yes"} == shown["labels"]
    assert failed["delivery_id"] == retried["delivery_id"]
    assert "E_HTTP" == failed["error"]["class"]
    assert failed["next_attempt_at"] is not None


async def test_days_decide_what_is_exported(stack: Stack) -> None:
    """Yesterday has nothing; a range that ends before it begins, or is too long, is refused."""
    space = await stack.api.make_space(TYPE)
    await stack.api.send(space, TYPE)
    today = datetime.now(UTC).date()
    yesterday = (today - timedelta(days=1)).isoformat()
    await eventually(lambda: export(stack, space, "events"), timeout_s=30)
    before = await export(stack, space, "events", **{"from": yesterday, "to": yesterday})
    both = await export(stack, space, "events", **{"from": yesterday, "to": today.isoformat()})
    refused = await stack.api.call(
        "GET",
        "/events/export",
        token=space.secret,
        query={"application_id": space.application_id, "from": today.isoformat(), "to": yesterday},
    )
    stranger = await stack.api.make_space(TYPE)
    forbidden = await stack.api.call(
        "GET", "/events/export", token=stranger.secret, query={"application_id": space.application_id}
    )

    assert [] == before
    assert 1 == len(both)
    assert (400, "InvalidDateRange") == refused.problem
    assert (403, "Forbidden") == forbidden.problem


async def test_memory_stays_flat(stack: Stack, request: pytest.FixtureRequest) -> None:
    """A gateway that streams many more bytes than it may grow by, plain and encoded."""
    space = await stack.api.make_space(TYPE)
    request.addfinalizer(lambda: empty(stack.database_url, space.application_id))
    fill(stack.database_url, space.application_id)
    process = psutil.Process(stack.processes["gateway"][0].pid)
    grown_bytes, lines, taken = [], [], {}
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    url = f"{stack.api.url}/events/export?application_id={space.application_id}"
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for encoding in ("identity", "zstd", "gzip"):
            begun_bytes, most_bytes, count, size = process.memory_info().rss, 0, 0, 0
            decoder = zstandard.ZstdDecompressor().decompressobj() if encoding == "zstd" else None
            async with session.get(url, headers=headers | {"Accept-Encoding": encoding}) as response:
                assert (None if encoding == "identity" else encoding) == response.headers.get("Content-Encoding")
                assert "nosniff" == response.headers["X-Content-Type-Options"]
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 20):
                    size += len(chunk)
                    if encoding == "gzip":
                        body += chunk
                        continue
                    count += (decoder.decompress(chunk) if decoder is not None else chunk).count(b"\n")
                    most_bytes = max(most_bytes, process.memory_info().rss)
                if encoding == "gzip":
                    count = gzip.decompress(bytes(body)).count(b"\n")
            grown_bytes.append(most_bytes - begun_bytes)
            lines.append(count)
            taken[encoding] = size

    assert [MANY] * 3 == lines
    assert taken["identity"] > MANY * PAYLOAD_BYTES

    assert max(taken["zstd"], taken["gzip"]) < taken["identity"] / 4
    assert max(grown_bytes) < GROWTH_MAX_BYTES


async def test_slow_clients_hold_up_no_others(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Exports whose clients do not read hold no session of PostgreSQL, and half of the places: others export."""
    space, other = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
    request.addfinalizer(lambda: empty(stack.database_url, space.application_id))
    fill(stack.database_url, space.application_id)
    await stack.api.send(other, TYPE)

    async with contextlib.AsyncExitStack() as open_ones:
        for _ in range(2):
            await open_ones.enter_async_context(export_unread(stack, space))

        await eventually(lambda: count_transactions(stack.database_url) == 0, timeout_s=60)
        third = await stack.api.call(
            "GET", "/events/export", token=space.secret, query={"application_id": space.application_id}
        )
        theirs = await eventually(lambda: export(stack, other, "events"), timeout_s=60)

    assert 503 == third.status
    assert (503, "ServiceUnavailable") == third.problem
    assert 1 == len(theirs)


@asynccontextmanager
async def export_unread(stack: Stack, space: Space) -> AsyncIterator[None]:
    """An export whose client reads its first bytes and no more."""
    url = urlsplit(stack.api.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (url.hostname, url.port))
        target = f"{url.path}/events/export?application_id={space.application_id}"
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {space.secret}\r\n\r\n"
        await loop.sock_sendall(client, head.encode())
        assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
        yield


def count_transactions(database: str) -> int:
    """Transactions that the gateways have open, and do nothing in."""
    query = (
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and application_name like 'hookline-gateway%' and state = 'idle in transaction'"
    )
    with psycopg.connect(database) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
        return int(count)


async def test_answers_are_encoded_as_accepted(stack: Stack) -> None:
    """A list of some size; what is small stays as it is, and so does everything for who accepts nothing."""
    space = await stack.api.make_space(TYPE)
    sent = [await stack.api.send(space, TYPE) for _ in range(10)]
    url = f"{stack.api.url}/events?application_id={space.application_id}"
    headers = {"Authorization": f"Bearer {space.secret}"}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        bodies = {}
        for encoding in ("identity", "gzip", "zstd"):
            async with session.get(url, headers=headers | {"Accept-Encoding": encoding}) as response:
                bodies[response.headers.get("Content-Encoding", "identity")] = await response.read()
                assert "Accept-Encoding" in response.headers["Vary"]
        async with session.get(f"{stack.api.url}/payload_content_types", headers={"Accept-Encoding": "gzip"}) as small:
            assert "Content-Encoding" not in small.headers
    decoded = [bodies["identity"], gzip.decompress(bodies["gzip"]), zstandard.decompress(bodies["zstd"], 1 << 20)]

    assert 1 == len(set(decoded))
    assert sorted(sent) == sorted(each["event_id"] for each in json.loads(decoded[0]))


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
async def test_a_compressed_body_is_unpacked_to_the_limit(
    stack: Stack, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """An event is accepted; one that unpacks to more than a body may have is refused, however small it came."""
    space = await stack.api.make_space(TYPE)
    event = json.dumps(describe_event(space.application_id, TYPE)).encode()
    bomb = compress(b'{"x": "' + b"x" * 200_000_000 + b'"}')
    headers = {
        "Authorization": f"Bearer {space.secret}",
        "Content-Type": "application/json",
        "Content-Encoding": encoding,
    }
    accepted = await stack.api.call("POST", "/event", data=compress(event), headers=headers)
    refused = await stack.api.call("POST", "/event", data=bomb, headers=headers)

    assert 201 == accepted.status
    assert len(bomb) < 1_000_000
    assert (413, "JsonPayload") == refused.problem


def fill(database: str, application_id: str) -> None:
    """Many events of today, straight into the archive."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into events (day, application_id, event_id, event_type, payload, payload_compressed, "
            "payload_content_type, labels, metadata, occurred_at_us, received_at_us, appended_at_us, "
            "event_partition, event_offset) "
            "select (now() at time zone 'utc')::date, %s, gen_random_uuid(), %s, "
            "convert_to(rpad(n::text, %s, md5(n::text)), 'utf8'), false, 'text/plain', '{}', '{}', n, n, n, 0, n "
            "from generate_series(1, %s) n",
            (application_id, TYPE, PAYLOAD_BYTES, MANY),
        )


def empty(database: str, application_id: str) -> None:
    """Take the rows out again: the log does not have them."""
    with psycopg.connect(database) as connection:
        connection.execute("delete from events where application_id = %s", (application_id,))
