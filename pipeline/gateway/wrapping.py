"""Around every request: answers for everything that goes wrong, headers, figures, and paths as clients write them.

Handlers are wrapped when they are registered. As aiohttp's middleware the same would cost every request a third more:
its chain is built and the current application is noted anew for each (84 against 125 µs of CPU on a slow machine).
"""

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import Counter

from pipeline.core.events.text import find_target_problem
from pipeline.core.signing.sealing import UnsealError
from pipeline.core.trace_context import TRACEPARENT, TRACESTATE, make_headers
from pipeline.gateway.answer_headers import AnswerHeaders, secure
from pipeline.gateway.bodies import give_back_room
from pipeline.gateway.compressed import encode_answer
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.headers import is_host
from pipeline.gateway.operations import OPERATION, Handler, Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.request_limits import RequestLimits
from pipeline.metrics import Metrics
from pipeline.postgres.control.acting import act_as_system
from pipeline.postgres.pool import DatabaseNotReady, DatabaseUnavailable
from pipeline.postgres.session import SilentServerError
from pipeline.tenant import SYSTEM, work_for

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

SLASHES = re.compile("/{2,}")
REST = "/{rest:.*}"
HEALTH = "/health"
PART = re.compile(r"{(\w+)}")
UNKNOWN = "unknown"
NO_PATH = "There is no such path."
KNOWN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE"))


def wrap_routes(
    operations: Iterable[Operation],
    metrics: Metrics,
    *,
    prefix: str,
    is_draining: Callable[[], bool],
    headers: AnswerHeaders,
    limits: RequestLimits,
    tracing: "Tracing | None",
) -> list[web.RouteDef]:
    """The operations under `prefix` as routes, framed; and the one that takes whatever is none of them."""

    def frame_one(operation: Operation, route: str) -> Handler:
        # a balancer's question is answered however many requests there are
        is_limited = limits.is_on and operation.path != HEALTH
        check = limits.check if is_limited else None
        framed = wrap(operation, metrics, route=route, is_draining=is_draining, headers=headers, check_limits=check)
        return framed if tracing is None or operation.path == HEALTH else trace_requests(framed, tracing, route)

    framed = []
    for operation in operations:
        path = prefix + operation.path
        # aiohttp's own pattern of a part has no braces, which a name may have
        pattern = PART.sub(r"{\1:[^/]+}", path)
        framed.append(web.route(operation.method, pattern, frame_one(operation, path)))
    nowhere = Operation("*", REST, refuse_path, problems=("NotFound", "MethodNotAllowed"))
    return [*framed, web.route("*", REST, find_again(frame_one(nowhere, UNKNOWN)))]


def wrap(
    operation: Operation,
    metrics: Metrics,
    *,
    route: str,
    is_draining: Callable[[], bool],
    headers: AnswerHeaders,
    check_limits: Callable[[web.Request], None] | None,
) -> Handler:
    """The operation's handler with an answer for everything it raises. `route`: its name in the figures.

    While draining, an answer closes its connection: a client that keeps it would meet the moment it is closed at.
    """
    handler, problem_ids = operation.handler, operation.list_problem_ids()
    seconds = metrics.http_seconds.labels(route)
    # looking a child up by its labels takes longer than counting
    requests: dict[tuple[str, int], Counter] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        started_at_s = time.perf_counter()
        # the requests of one connection share a task
        act_as_system()
        work_for(SYSTEM)
        try:
            check_head(request)
            if check_limits is not None:
                check_limits(request)
            request[OPERATION] = operation
            response = await handler(request)
        except Exception as error:  # everything: the client gets an answer, and the process goes on with the others
            if isinstance(error, Problem) and error.kind.id not in problem_ids:
                request.app[GATEWAY].log.error("problem_undocumented", route=route, problem=error.kind.id)
            response = answer_error(request.app[GATEWAY], error, method=request.method, route=route)
        finally:
            give_back_room(request)
        if is_draining():
            response.force_close()
        headers.add(request, response)
        await encode_answer(request, response)
        key = (request.method, response.status)
        counter = requests.get(key)
        if counter is None:
            counter = requests[key] = metrics.http_requests_total.labels(route, *key)
        counter.inc()
        seconds.observe(time.perf_counter() - started_at_s)
        return response

    return answer


def trace_requests(handler: Handler, tracing: "Tracing", route: str) -> Handler:
    """The handler of a route, with a span around each request."""

    async def answer(request: web.Request) -> web.StreamResponse:
        parent = make_headers(request.headers.get(TRACEPARENT), request.headers.get(TRACESTATE))
        with tracing.serve(route, request.method, parent) as span:
            response = await handler(request)
            tracing.end_serving(span, response.status)
            return response

    return answer


def answer_unrouted(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """The answer to what came to no route: a target such as `*`, or an expectation that cannot be met."""
    if error.status != web.HTTPNotFound.status_code:
        response = Problem("InvalidRequest", detail=error.text, status=error.status).to_response()
    elif request.method == "OPTIONS":
        response = web.Response(status=204, headers={"Allow": _join({*KNOWN_METHODS, "OPTIONS"})})
    else:
        response = Problem("NotFound", detail=NO_PATH).to_response()
    secure(response)
    return response


def find_again(refuse: Handler) -> Handler:
    """Find the route of a path that is none as it stands: slashes at the end are optional, repeated ones are one.

    A route that is found has a frame that counts the request; a path without a route goes to `refuse`.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        if find_target_problem(request.raw_path) is not None:
            return await refuse(request)
        found, _ = await _resolve(request)
        return await (refuse(request) if found is None else found.match_info.handler(found))

    return answer


async def refuse_path(request: web.Request) -> web.StreamResponse:
    """The answer where no route is: 404, or 405 when the path has other methods."""
    _, allowed = await _resolve(request)
    if request.method == "OPTIONS" and allowed:
        return web.Response(status=204, headers={"Allow": _join({*allowed, "OPTIONS"})})
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, {*allowed, "OPTIONS"})
    raise web.HTTPNotFound(text=NO_PATH)


async def _resolve(request: web.Request) -> tuple[web.Request | None, set[str]]:
    """The request of the route that its path means, and the methods that the path has."""
    path = SLASHES.sub("/", request.rel_url.raw_path).rstrip("/") or "/"
    url = request.rel_url.with_path(path, encoded=True, keep_query=True)
    found = request.clone(rel_url=url)
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource is request.match_info.route.resource:
            continue
        match_info, methods = await resource.resolve(found)
        if match_info is not None:
            match_info.add_app(request.app)
            found._match_info = match_info  # noqa: SLF001 - what aiohttp's own application does
            return found, allowed
        allowed |= methods
    return None, allowed


def check_head(request: web.Request) -> None:
    """Check that the request's target and `Host` are text that later stages can take. Raises `Problem`."""
    target, host = request.raw_path, request.headers.get("Host")
    problem = find_target_problem(target)
    if problem is not None:
        path = target.partition("?")[0]
        if find_target_problem(path) is not None:
            raise Problem("NotFound", detail=f"The path {problem}.")
        raise Problem("InvalidQuery", detail=f"The query string {problem}.")
    if host is not None and not is_host(host):
        raise Problem("InvalidRequest", detail="The header `Host` is no host with an optional port.")


def answer_error(gateway: Gateway, error: Exception, *, method: str, route: str) -> web.Response:
    """The answer to any exception of a handler."""
    match error:
        case Problem():
            return error.to_response()
        case web.HTTPException():
            return _describe(error, method)
        case _ if isinstance(error, DatabaseUnavailable):
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            # never the path as it was sent: a secret may stand in it
            gateway.log.warning("database_unavailable", route=route, reason=reason)
            return Problem("ServiceUnavailable", detail=_explain(error)).to_response()
        case _ if isinstance(error, DatabaseNotReady):
            # an operator took something away, or has not brought it yet: the same request is served once it is there
            reason = str(error).strip().partition("\n")[0]
            gateway.log.error("database_refused", route=route, reason=reason)
            detail = "The database refuses what this needs; the gateway's log says what that is."
            return Problem("ServiceUnavailable", detail=detail).to_response()
        case UnsealError():
            gateway.log.error("sealing_key_missing", route=route, key_id=error.key_id, reason=str(error))
            detail = "A secret of this is sealed with a key that this gateway does not have."
            return Problem("ServiceUnavailable", detail=detail).to_response()
        case _:
            gateway.log.error("request_failed", method=method, route=route, exc_info=error)
            return Problem("InternalServerError").to_response()


def _explain(error: Exception) -> str:
    if isinstance(error, SilentServerError):
        return "The database did not answer in time. A change may have been saved: look before you repeat it."
    return "The database does not answer at this moment."


def _describe(error: web.HTTPException, method: str) -> web.Response:
    """The problem for an exception of aiohttp or of our readers of paths and queries."""
    match error:
        case web.HTTPNotFound():
            return Problem("NotFound", detail=error.text).to_response()
        case web.HTTPMethodNotAllowed():
            detail = f"The path does not have {method}; it has {_join(error.allowed_methods)}."
            response = Problem("MethodNotAllowed", detail=detail).to_response()
            response.headers["Allow"] = _join(error.allowed_methods)
            return response
        case _:
            return Problem("InvalidQuery", detail=error.text, status=error.status).to_response()


def _join(methods: Iterable[str]) -> str:
    return ", ".join(sorted(methods))
