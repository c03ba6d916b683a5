"""`GET /responses/{response_id}`: what an endpoint answered, or what went wrong instead."""

import base64
from typing import TypedDict

from aiohttp import web

from pipeline.gateway.answers import Id, answer_json
from pipeline.gateway.auth import authorize
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import APPLICATION_ID, take_application_id, take_path_id
from pipeline.gateway.reads.waiting import find_anywhere
from pipeline.postgres.archive.attempts import ArchivedResponse, find_response


class ResponseShown(TypedDict):
    """The answer of an endpoint."""

    response_id: Id
    response_error_name: str | None
    http_code: int | None
    headers: dict[str, str]
    body: str
    elapsed_time_ms: int


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/responses/{response_id}", show_response, query=(APPLICATION_ID,), answer=ResponseShown),
    ]


async def show_response(request: web.Request) -> web.Response:
    """One response. Its id is the attempt's."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    response_id = take_path_id(request, "response_id")
    application_id = take_application_id(request)
    await caller.require_application(application_id)
    response = await find_anywhere(gateway, lambda pool: find_response(pool, application_id, response_id))
    if response is None:
        raise Problem("NotFound")
    return answer_json(show_answer(response))


def show_answer(response: ArchivedResponse) -> ResponseShown:
    """A response as the API shows it: text where the body is UTF-8, else base64; without one, the error's sentence."""
    body = response.body or (response.error_detail or "").encode() if response.status is None else response.body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = base64.b64encode(body).decode()
    return {
        "response_id": response.attempt_id,
        "response_error_name": response.error_class,
        "http_code": response.status,
        "headers": response.headers,
        "body": text,
        "elapsed_time_ms": max(0, response.elapsed_us // 1000),
    }
