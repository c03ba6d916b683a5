"""The server below the application: what is no HTTP is answered by a problem too, and a head has a deadline.

aiohttp answers such requests in plain text, logs each with a traceback, and waits for ever for the rest of a head.
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
from pipeline.gateway.wrapping import answer_unrouted

log = structlog.get_logger()


class ProblemRunner(web.AppRunner):
    """Serves an application by `ProblemHandler`s. `head_timeout_s`: from a head's first byte to its last."""

    def __init__(self, app: web.Application, *, head_timeout_s: float, **options: Any) -> None:
        super().__init__(app, **options)
        self._head_timeout_s = head_timeout_s

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return ProblemServer(made, head_timeout_s=self._head_timeout_s)


class ProblemServer(web.Server):
    """What aiohttp made, with another protocol."""

    def __init__(self, made: web.Server, *, head_timeout_s: float) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,  # noqa: SLF001 - aiohttp has no way to choose the protocol of an application
            **made._kwargs,  # noqa: SLF001
        )
        self.head_timeout_s = head_timeout_s

    def __call__(self) -> RequestHandler:
        return ProblemHandler(self, loop=self._loop, **self._kwargs)


class ProblemHandler(RequestHandler):
    """One connection."""

    __slots__ = ("_head_deadline", "_head_timeout_s")

    def __init__(self, manager: ProblemServer, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_timeout_s = manager.head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done() and not self._messages:
            # something came, and it is no whole head yet
            if self._head_deadline is None:
                self._head_deadline = self._loop.call_later(self._head_timeout_s, self._give_up_head)
        elif self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def connection_lost(self, exc: BaseException | None) -> None:
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
        """The answer to what is no HTTP, or to what escaped every handler. The connection ends with it."""
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
    """What the parser says, without the bytes that it refused."""
    if isinstance(error, InvalidURLError):
        return "The request's target is no URL."
    first = (message or "").strip().partition("\n")[0].partition(": bytearray")[0].strip(" :.")
    return f"{first}." if first and first.isascii() and first.isprintable() else None
