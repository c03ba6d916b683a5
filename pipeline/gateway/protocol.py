"""The server below the application: bytes that are no HTTP get a problem as their answer, and a head has a deadline.

aiohttp answers such requests in plain text, logs each with a traceback, and waits for ever for the rest of a head.
Events that can be accepted at once do not reach aiohttp (`short_way`): to its protocol the connection is idle
meanwhile.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import InvalidURLError
from aiohttp.web_protocol import RequestHandler

from pipeline.gateway.answer_headers import secure
from pipeline.gateway.problems import Problem
from pipeline.gateway.short_way import Answer, ShortWay
from pipeline.gateway.wrapping import answer_unrouted

log = structlog.get_logger()


class ProblemRunner(web.AppRunner):
    """Serves an application by `ProblemHandler`s. `head_timeout_s`: from a head's first byte to its last.

    `short_way`: None: every request goes the long way.
    """

    def __init__(
        self, app: web.Application, *, head_timeout_s: float, short_way: ShortWay | None, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._head_timeout_s = head_timeout_s
        self._short_way = short_way

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return ProblemServer(made, head_timeout_s=self._head_timeout_s, short_way=self._short_way)


class ProblemServer(web.Server):
    """aiohttp's server, with another protocol."""

    def __init__(self, made: web.Server, *, head_timeout_s: float, short_way: ShortWay | None) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,  # noqa: SLF001 - aiohttp has no way to choose the protocol of an application
            **made._kwargs,  # noqa: SLF001
        )
        self.head_timeout_s = head_timeout_s
        self.short_way = short_way

    def __call__(self) -> RequestHandler:
        return ProblemHandler(self, loop=self._loop, **self._kwargs)


class ProblemHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_behind", "_head_deadline", "_head_timeout_s", "_short_way", "_under_way")

    def __init__(self, manager: ProblemServer, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_timeout_s = manager.head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None
        self._short_way = manager.short_way
        self._under_way: asyncio.Task[None] | None = None  # a request on the short way
        self._behind = b""  # came after it

    def data_received(self, data: bytes) -> None:
        if self._under_way is not None:
            self._behind += data
            self._pause_transport_reading()
            return
        short_way = self._short_way
        if short_way is not None and data.startswith(short_way.start) and self._is_idle():
            accepting = short_way.begin(data, self._find_peer())
            if accepting is not None:
                self._begin_short_way(accepting)
                return
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done() and not self._messages:
            # something came, and it is no whole head yet
            if self._head_deadline is None:
                self._head_deadline = self._loop.call_later(self._head_timeout_s, self._give_up_head)
        elif self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _is_idle(self) -> bool:
        """Does aiohttp wait for the first byte of a request, and could it write an answer at once?"""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and self._head_deadline is None
            and not (self._messages or self._upgraded or self._close or self._force_close)
            and not (self._paused or self._reading_paused or self._buffer_paused)
        )

    def _find_peer(self) -> str | None:
        """The peer's address, as aiohttp's `request.remote`."""
        peer = self.peername
        return str(peer[0]) if isinstance(peer, tuple) else peer

    def _begin_short_way(self, accepting: Coroutine[Any, Any, Answer]) -> None:
        self._request_in_progress = True  # for which a shutdown waits
        self._put_off_closing()
        self._under_way = self._loop.create_task(self._finish_short_way(accepting))

    async def _finish_short_way(self, accepting: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await accepting
            if self.transport is not None:
                self.transport.write(answer.data)
            if answer.closes or self._close:
                self.force_close()
        finally:
            self._under_way = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        self._put_off_closing()
        if self._behind:
            behind, self._behind = self._behind, b""
            if self.transport is not None:
                self.data_received(behind)
            if self._under_way is None and not (self._reading_paused or self._buffer_paused):
                self._resume_transport_reading()

    def _put_off_closing(self) -> None:
        """The connection was used: it is kept for as long as any from now on."""
        self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout

    def connection_lost(self, exc: BaseException | None) -> None:
        self._behind = b""
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        super().connection_lost(exc)

    def _give_up_head(self) -> None:
        self._head_deadline = None
        transport = self.transport
        if transport is None or self._messages or self._waiter is None or self._waiter.done():
            return
        # written here: there is no request that a handler could answer
        problem = Problem("RequestTimeout", detail="The head of the request did not arrive in time.")
        body = problem.to_body()
        head = (
            f"HTTP/1.1 {problem.status} Request Timeout\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode("ascii") + body)
        self.force_close()

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        if isinstance(resp, web.HTTPException):  # of the router itself: every route of ours is framed
            resp = answer_unrouted(request, resp)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are no HTTP, or an exception that escaped every handler. The connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun before the error") from exc
        if status == 400:
            log.debug("request_unreadable", remote=request.remote, reason=type(exc).__name__)
            problem = Problem("InvalidRequest", detail=_explain(exc, message))
        else:
            log.error("request_failed", method=request.method, exc_info=exc)
            problem = Problem("InternalServerError")
        response = problem.to_response()
        secure(response)
        response.force_close()
        return response


def _explain(error: BaseException | None, message: str | None) -> str | None:
    """The parser's message, without the bytes that it refused."""
    if isinstance(error, InvalidURLError):
        return "The request's target is no URL."
    first = (message or "").strip().partition("\n")[0].partition(": bytearray")[0].strip(" :.")
    return f"{first}." if first and first.isascii() and first.isprintable() else None
