import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.eventually import eventually
from tests.support.receiver import FailTimes, Hang, ReceiverProcess, read_journal


async def post(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=b"body") as response:
        return response.status


async def test_a_receiver_of_its_own_is_scripted_and_read_from_afar(tmp_path: Path) -> None:
    """Scripts by option and on the way, the journal as it grows, and how it is doing."""
    options = ("--script", "/a", "Status(503)", "Ok()", "--default", "Gone()")
    async with ReceiverProcess(tmp_path / "journal", *options) as receiver:
        assert [await post(receiver.url(path)) for path in ("/a", "/a", "/b")] == [503, 200, 410]
        await receiver.script("/b", FailTimes(1), Hang())
        assert await post(receiver.url("/b")) == 500

        assert [request.path for request in receiver.requests()] == ["/a", "/a", "/b", "/b"]
        assert [r.answer for r in receiver.requests("/b")] == ["Gone()", "Status(code=500, body=b'', headers=())"]
        assert {b"body"} == {request.body for request in receiver.requests()}
        await eventually(lambda: _has_no_connections(receiver))
        state = await receiver.state()
        assert (state.received, state.open_requests, state.max_open, state.malformed) == (4, 0, 1, [])


async def _has_no_connections(receiver: ReceiverProcess) -> bool:
    return (await receiver.state()).open_connections == 0


async def test_the_journal_survives_the_receiver(tmp_path: Path) -> None:
    """Answered requests are in the file, even when the receiver itself is killed."""
    async with ReceiverProcess(tmp_path / "journal", "--digests-only") as receiver:
        assert await post(receiver.url("/")) == 200
        os.kill(receiver.pid, signal.SIGKILL)

    (request,) = read_journal(tmp_path / "journal")
    assert (request.body, request.body_bytes) == (b"", 4)


async def test_a_mistaken_option_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The start fails instead of answering something else than was meant."""
    with pytest.raises(AssertionError, match="ended with code 2"):
        async with ReceiverProcess(tmp_path / "journal", "--default", "Explode()"):
            pass
    assert "Explode" in capfd.readouterr().err
