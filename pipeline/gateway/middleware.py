"""Around every request: paths as clients write them, answers for everything that goes wrong, headers, figures."""

import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.gateway.context import GATEWAY
from pipeline.gateway.problems import Problem
from pipeline.postgres.pool import DatabaseUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "no-referrer",
}
SLASHES = re.compile("/{2,}")


@web.middleware
async def supervise(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request's frame. What a handler raises becomes an answer; what nobody expects is logged and a 500."""
    started_at_s = time.perf_counter()
    response = await _answer(request, handler)
    response.headers.update(SECURITY_HEADERS)
    metrics = request.app[GATEWAY].metrics
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    metrics.http_requests_total.labels(route, request.method, response.status).inc()
    metrics.http_seconds.labels(route).observe(time.perf_counter() - started_at_s)
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        if request.match_info.http_exception is not None:
            return await _find_again(request, handler)
        return await handler(request)
    except Problem as problem:
        return problem.to_response()
    except web.HTTPException as answer:
        # plain text, as clients know it: a path or a query string that cannot be read
        return web.Response(text=answer.text, status=answer.status, headers=_keep_allow(answer))
    except DatabaseUnavailable as error:
        request.app[GATEWAY].log.warning("database_unavailable", path=request.path, reason=_first_line(error))
        return Problem("ServiceUnavailable", detail="The database does not answer at this moment.").to_response()
    except Exception:  # whatever it is, the client gets an answer and the process goes on with the others
        request.app[GATEWAY].log.exception("request_failed", method=request.method, path=request.path)
        return Problem("InternalServerError").to_response()


async def _find_again(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Slashes at the end are optional, repeated ones are one: clients differ."""
    path = SLASHES.sub("/", request.rel_url.raw_path).rstrip("/")
    if path in (request.rel_url.raw_path, ""):
        return await handler(request)
    found = request.clone(rel_url=request.rel_url.with_path(path, encoded=True, keep_query=True))
    match_info = await request.app.router.resolve(found)
    match_info.add_app(request.app)
    found._match_info = match_info  # noqa: SLF001 - what aiohttp's own application does
    return await match_info.handler(found)


def _keep_allow(answer: web.HTTPException) -> dict[str, str]:
    return {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else {}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
