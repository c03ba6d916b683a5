"""`GET /health`: for balancers and monitoring that reach only the port of the API."""

from aiohttp import web

from pipeline.gateway.answers import answer_json
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.health_report import HealthReport
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import declare_text, take


def list_routes() -> list[Operation]:
    return [
        Operation(
            "GET",
            "/health",
            show_health,
            query=(declare_text("key", "`HOOKLINE_GATEWAY_HEALTH_KEY`, when it is set."),),
            answer=HealthReport,
            other_answers=((503, HealthReport),),
            problems=("Forbidden",),
            is_public=True,
        ),
    ]


async def show_health(request: web.Request) -> web.Response:
    """200 when this gateway takes requests, 503 when it should be given none."""
    health = request.app[GATEWAY].health
    if not health.may_ask(take(request, "key") or ""):
        raise Problem("Forbidden", detail="The `key` is missing or wrong.")
    is_ready, report = await health.describe()
    return answer_json(report, status=200 if is_ready else 503)
