"""`hookline listen` as a user starts it: a process, HTTP, and what it shows."""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from pipeline.core.signing.signature import format_standard_secret, sign_hook0, sign_standard
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ
from tests.support.receiver import Receiver, Status
from tests.support.single_process import START_TIMEOUT_S

SECRET, OTHER_SECRET = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11", "00000000-6f3b-4a57-9b1c-0d6d3d0a8f11"
NO_TEXT = b"".join(
    name + b": \xff\r\n" for name in (b"webhook-id", b"webhook-signature", b"webhook-timestamp", b"X-Hook0-Signature")
)
BODY_MAX_BYTES = 4 * 1024 * 1024


class Listener:
    """A running `hookline listen`."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, out: Path) -> None:
        self.process = process
        self.url = url
        self._out = out

    async def wait_lines(self, count: int) -> list[str]:
        """Wait until the command has shown so many lines, and return them."""

        def find() -> list[str]:
            lines = self._out.read_text().splitlines()
            assert len(lines) >= count, f"{len(lines)} lines, {count} expected"
            return lines

        return await eventually(find)


@asynccontextmanager
async def listen(tmp_path: Path, *arguments: str) -> AsyncIterator[Listener]:
    """Start `hookline listen` on a free port; it is killed in the end unless it has ended."""
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline.cli", "listen", "--port", "0", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=select_environ(os.environ),
        )

    def find_url() -> str:
        said = (tmp_path / "err").read_text()
        if process.returncode is not None:
            raise RuntimeError(said)
        assert said.startswith("listening on http://"), said
        return said.removeprefix("listening on ").partition(";")[0]

    try:
        yield Listener(process, await eventually(find_url, timeout_s=START_TIMEOUT_S), tmp_path / "out")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def sign(body: bytes, *, secret: str = SECRET, signed_at_s: float | None = None) -> dict[str, str]:
    """The headers of a delivery."""
    now_s = int(signed_at_s or time.time())
    covered = {"content-type": "application/json", "x-event-id": "e1", "x-event-type": "shop.order.paid"}
    key = secret.encode()
    return covered | {
        "X-Hook0-Signature": sign_hook0(key, body=body, headers=covered, signed_at_s=now_s, versions=("v1",)),
        "webhook-id": "d1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard([key], message_id="d1", body=body, signed_at_s=now_s),
    }


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        await response.read()
        return response.status


async def test_it_shows_and_verifies_what_arrives(tmp_path: Path) -> None:
    """Genuine, for another secret, too old, changed, and unsigned: each told apart, all answered alike."""
    async with listen(tmp_path, "--secret", format_standard_secret(SECRET)) as listener:
        body = b'{"a":1}'
        statuses = [
            await post(listener.url, body, sign(body)),
            await post(listener.url, body, sign(body, secret=OTHER_SECRET)),
            await post(listener.url, body, sign(body, signed_at_s=time.time() - 1000)),
            await post(listener.url, b'{"a":2}', sign(body)),
            await post(f"{listener.url}any/path?x=1", body, {}),
        ]
        lines = await listener.wait_lines(5)

        assert [200] * 5 == statuses
        assert lines[0].endswith("  shop.order.paid  event e1  delivery d1  7 B  signature ok (hook0, standard)")
        assert ["signature WRONG"] * 4 == [word for line in lines[1:] for word in ["signature WRONG"] if word in line]
        assert "hook0: it does not fit" in lines[1]
        assert "standard: it does not fit" in lines[1]
        assert "ago, more than 300 are allowed" in lines[2]
        assert "hook0: it does not fit" in lines[3]
        assert "it carries no signature" in lines[4]


async def test_programs_get_objects_with_bodies(tmp_path: Path) -> None:
    """One line of JSON for each; the answer is the one that was asked for."""
    async with listen(tmp_path, "--json", "--body", "--status", "503") as listener:
        status = await post(listener.url, "grüß".encode(), sign("grüß".encode()))
        (line,) = await listener.wait_lines(1)
        shown = json.loads(line)

        assert 503 == status
        assert ("d1", "grüß", 6) == (shown["delivery_id"], shown["body"], shown["body_bytes"])
        assert shown["is_genuine"] is None
        assert "signature not checked (no secret was given)" == shown["signature"]


async def test_a_secret_in_a_file_may_be_rotated(tmp_path: Path) -> None:
    """A new secret in the file applies without a restart, and is never on the command line."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    async with listen(tmp_path, "--secret-file", str(file)) as listener:
        await post(listener.url, b"", sign(b""))
        (tmp_path / "aside").write_text(f"{OTHER_SECRET}\n")
        (tmp_path / "aside").rename(file)
        await post(listener.url, b"", sign(b"", secret=OTHER_SECRET))
        lines = await listener.wait_lines(2)

        assert ["signature ok (hook0, standard)"] * 2 == [line.rpartition("  ")[2] for line in lines]


async def test_nothing_that_is_sent_ends_it(tmp_path: Path) -> None:
    """No HTTP at all, half a request, a huge body, headers that are no text, a terminal's commands."""
    async with listen(tmp_path, "--secret", SECRET) as listener:
        host, port = listener.url.removeprefix("http://").rstrip("/").split(":")
        for raw in (
            b"\x16\x03\x01\x02\x00\x01",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            b"BREW /\xff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            b"POST /x\x7f HTTP/1.1\r\nHost: x\r\nX-Event-Type: \xff\x1b[2J\r\n"
            + NO_TEXT
            + b"Content-Length: 0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nX-Event-Type: \xff\r\n" + NO_TEXT + b"Content-Length: 0\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(raw)
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
        huge = b"x" * (BODY_MAX_BYTES + 1)
        assert 200 == await post(listener.url, huge, sign(huge))
        assert 200 == await post(listener.url, b"{}", sign(b"{}"))
        lines = await eventually(lambda: find_last(listener, "2 B"))

        assert lines[-1].endswith("signature ok (hook0, standard)")
        assert lines[-2].endswith(
            "4,194,305 B  signature not checked (a body of more than 4,194,304 B, or too many at once)"
        )
        assert all(line.isprintable() for line in lines)
        assert psutil.Process(listener.process.pid).memory_info().rss < 200 * 1024**2


async def find_last(listener: Listener, word: str) -> list[str]:
    """All lines, once the last one has a word."""
    lines = await listener.wait_lines(1)
    assert word in lines[-1]
    return lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_stops_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end it at once, in order; also while a connection is open."""
    async with listen(tmp_path) as listener, aiohttp.ClientSession() as session:
        async with session.get(listener.url) as response:
            assert 200 == response.status
        listener.process.send_signal(number)
        async with asyncio.timeout(20):
            assert 0 == await listener.process.wait()


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """A port that is taken, a secret that is none, a file that is not there: one line, exit code 2."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        taken = await run_hookline("listen", "--port", str(server.sockets[0].getsockname()[1]))
    no_secret = await run_hookline("listen", "--port", "0", "--secret", "nonsense")
    no_file = await run_hookline("listen", "--port", "0", "--secret-file", str(tmp_path / "gone"))

    assert [2, 2, 2] == [finished.code for finished in (taken, no_secret, no_file)]
    assert "cannot listen on 127.0.0.1:" in taken.err
    assert "a secret is a UUID, or whsec_ followed by base64" in no_secret.err
    assert "cannot read the secret from" in no_file.err
    assert "Traceback" not in taken.err + no_secret.err + no_file.err


async def test_what_arrives_is_passed_on_with_its_answer(tmp_path: Path) -> None:
    """A developer's own server gets the delivery as it was sent, and its answer is the answer."""
    body = b'{"order": 42}'
    async with Receiver() as server:
        server.script("/hooks", Status(418))
        async with listen(tmp_path, "--secret", SECRET, "--forward-to", server.url("/hooks")) as listener:
            async with (
                aiohttp.ClientSession() as session,
                session.post(listener.url, data=body, headers=sign(body)) as answer,
            ):
                status = answer.status
            (line,) = await listener.wait_lines(1)
        (got,) = server.requests()

    assert 418 == status
    assert line.endswith("signature ok (hook0, standard)  answered 418")
    assert (body, sign(body)["webhook-id"]) == (got.body, got.header("webhook-id"))


async def test_a_server_that_is_away_is_a_502(tmp_path: Path) -> None:
    """Hookline then tries the delivery again, as with any endpoint."""
    async with listen(tmp_path, "--forward-to", "http://127.0.0.1:1/") as listener:
        async with aiohttp.ClientSession() as session, session.post(listener.url, data=b"x") as answer:
            status = answer.status
        (line,) = await listener.wait_lines(1)

    assert 502 == status
    assert line.endswith("answered 502")
