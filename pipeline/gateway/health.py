"""`GET /health`: for balancers and monitoring that reach only the port of the API."""

from aiohttp import web

from pipeline.gateway.answers import answer_json
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.problems import Problem


def list_routes() -> list[web.RouteDef]:
    return [web.get("/health", show_health)]


async def show_health(request: web.Request) -> web.Response:
    """200 when this gateway takes requests, 503 when it should be given none."""
    health = request.app[GATEWAY].health
    if not health.may_ask(request.query.get("key", "")):
        raise Problem("Forbidden", detail="The `key` is missing or wrong.")
    is_ready, report = await health.describe()
    return answer_json(report, status=200 if is_ready else 503)
