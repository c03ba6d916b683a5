"""Starts the receiver as a process of its own, which goes on when everything else is killed."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import msgspec

from tests.support.receiver.control import ReceiverState, ScriptOrder
from tests.support.receiver.requests import JournalReader, ReceivedRequest
from tests.support.receiver.script import Step

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 240.0  # as of any process on a busy machine


class ReceiverProcess:
    """An async context manager, with the receiver's own ways as far as they go through a journal and HTTP.

    `arguments`: more options of `python -m tests.support.receiver`.
    """

    def __init__(self, journal: Path, *arguments: str) -> None:
        self.journal = journal
        self._arguments = arguments
        self._reader = JournalReader(journal)
        self._requests: list[ReceivedRequest] = []

    async def __aenter__(self) -> "ReceiverProcess":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.support.receiver", "--journal", str(self.journal), "--stop-at-end-of-input"),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), START_TIMEOUT_S)
        assert line, f"the receiver ended with code {await self._process.wait()}; it says why on standard error"
        addresses = msgspec.json.decode(line, type=dict[str, str])
        self._url, self._control = addresses["url"], addresses["control"]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, path: str = "/") -> str:
        return self._url + path

    async def script(self, path: str, *steps: Step) -> None:
        """See `Receiver.script`."""
        order = ScriptOrder(path=path, steps=[repr(step) for step in steps])
        body = msgspec.json.encode(order)
        async with aiohttp.ClientSession() as session, session.put(f"{self._control}/script", data=body) as response:
            assert response.status == 204, await response.text()

    async def state(self) -> ReceiverState:
        """How the receiver is doing now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._control}/state") as response:
            return msgspec.json.decode(await response.read(), type=ReceiverState)

    def requests(self, path: str | None = None) -> list[ReceivedRequest]:
        """Requests in the journal, in order: of one path, or of all."""
        self._requests.extend(self._reader.read_new())
        return [request for request in self._requests if path is None or request.path == path]
