"""The receiver itself: takes any request, shows it, answers it."""

import asyncio
import json
import logging
import sys
import time
from dataclasses import replace

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.commands.listen.arrival import Arrival, format_body, format_line, show
from pipeline.commands.listen.forward import Forward
from pipeline.commands.listen.keys import Keys
from pipeline.commands.listen.lender import Lender
from pipeline.commands.listen.options import ListenOptions
from pipeline.core.signing.verification import verify
from pipeline.process import Process
from pipeline.start_error import StartError

BODY_MAX_BYTES = 4 * 1024 * 1024  # as large as a record may be
HELD_MAX_BYTES = 64 * 1024 * 1024  # bodies being read at the same time, together
BODY_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 2.0


class Receiver:
    """Answers everything. Whatever is sent, it neither fails nor grows."""

    def __init__(
        self, options: ListenOptions, keys: Keys, *, hook0_header: str, forward: Forward | None = None
    ) -> None:
        self._options = options
        self._keys = keys
        self._hook0_header = hook0_header.lower()
        self._forward = forward
        self._held_bytes = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Show one request and answer it."""
        arrival = await self._take(request)
        if self._forward is not None and arrival.body is not None:
            status, content = await self._forward.pass_on(arrival)
            self._show(replace(arrival, answered_status=status))
            return web.Response(status=status, body=b"" if status in (204, 304) else content)
        self._show(arrival)
        return web.Response(status=self._options.status, text="" if self._options.status == 204 else "received\n")

    async def _take(self, request: web.BaseRequest) -> Arrival:
        arrived_at_s = time.time()
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        chunks: list[bytes] = []
        try:
            body_bytes, problem = await self._read(request, chunks)
            body = None if problem else b"".join(chunks)
        finally:
            self._held_bytes -= sum(map(len, chunks))
        keys = self._keys.current()
        return Arrival(
            arrived_at_s=arrived_at_s,
            method=request.method,
            path=request.path_qs,
            headers=headers,
            body=body,
            body_bytes=body_bytes,
            body_problem=problem,
            verification=None
            if body is None or not keys
            else verify(keys, headers=headers, body=body, now_s=arrived_at_s, hook0_header=self._hook0_header),
        )

    async def _read(self, request: web.BaseRequest, chunks: list[bytes]) -> tuple[int, str | None]:
        """Read the body into `chunks`; its size, and why it is not complete there."""
        body_bytes, problem = 0, None
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    body_bytes += len(chunk)
                    if body_bytes > BODY_MAX_BYTES or self._held_bytes + len(chunk) > HELD_MAX_BYTES:
                        problem = f"a body of more than {BODY_MAX_BYTES:,} B, or too many at once"
                    if problem is None:
                        chunks.append(chunk)
                        self._held_bytes += len(chunk)
        except (TimeoutError, ClientError, HttpProcessingError, OSError):
            problem = "the body did not arrive completely"
        return body_bytes, problem

    def _show(self, arrival: Arrival) -> None:
        if self._options.is_json:
            text = json.dumps(show(arrival, shows_body=self._options.shows_body))
        else:
            text = format_line(arrival)
            if self._options.shows_body and arrival.body is not None:
                text += "\n" + format_body(arrival)
        try:
            # whatever the terminal can show: a stranger's characters must not end us
            sys.stdout.buffer.write((text + "\n").encode(errors="backslashreplace"))
            sys.stdout.buffer.flush()
        except (OSError, ValueError):
            return  # the reader of our output is gone; deliveries are answered all the same


async def receive(process: Process, options: ListenOptions) -> None:
    """Receive until a signal stops it. Raises `StartError` when the port is taken."""
    # what strangers send that is no HTTP is answered with 400; it is no error of ours
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # raw bodies: the signature covers the bytes as sent
    keys = Keys(options.secrets, options.secret_file)
    if options.source is not None:
        lender = Lender(options.source, keys)
        await lender.read()
        process.supervisor.start("secrets", lender.run())
    forward = None
    if options.forward_to is not None:
        forward = await process.resources.enter_async_context(Forward(options.forward_to))
    receiver = Receiver(options, keys, hook0_header=process.settings.deliver.signature_header, forward=forward)
    server = web.Server(receiver.handle, access_log=None, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError as error:
        await runner.cleanup()
        raise StartError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --port, or 0 for any "
            "free one"
        ) from error
    url = f"http://{_bracket(options.host)}:{runner.addresses[0][1]}/"
    if process.settings.process.run_dir is None:
        checks = "signatures are verified" if keys.current() else "no --secret: signatures are not verified"
        sys.stderr.write(f"listening on {url}; {checks}; Ctrl-C stops\n")
    process.announce_ready(receiver=url)
    await process.stopping.wait()
    await runner.cleanup()


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host
