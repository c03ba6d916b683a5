"""The short way of `POST /event`: from a connection's bytes to the log without aiohttp's objects, tasks and router.

Most of what a gateway does is this one request, and most of its cost was what surrounds it. The short way only accepts:
a request that is not plain (`plain_heads`), a caller or an event that does not pass at once, and whatever else is not
the usual case, go the long way with the same bytes, which answers them. So every rule lives in one place (`ingest`).
What can still fail here, an id that is known or a log that takes nothing, is answered as the long way would.
"""

import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from uuid_utils import uuid7

from pipeline.core.events.json_text import find_json_problem
from pipeline.core.events.records import Event
from pipeline.core.events.text import NUL_ESCAPED
from pipeline.gateway.answer_headers import AnswerHeaders
from pipeline.gateway.context import Gateway
from pipeline.gateway.ingest import EventForm, accept, decode_event_form, make_event, show_accepted
from pipeline.gateway.plain_heads import PlainHead, PlainHeads
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import MASTER
from pipeline.gateway.wrapping import answer_error

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

METHOD = "POST"
PEERS_REMEMBERED = 1024
ACCEPTED = (201, "Created")


class Answer(NamedTuple):
    """An answer to write. `closes`: the connection ends with it."""

    data: bytes
    closes: bool
    status: int


class ShortWay:
    """One gateway's. `path`: of the request; `headers`: those of every answer."""

    def __init__(self, gateway: Gateway, headers: AnswerHeaders, *, path: str, is_draining: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._headers = headers
        self._route = path
        self._is_draining = is_draining
        self._tracing = gateway.tracing
        proxies = gateway.proxies
        self._find_client = lru_cache(PEERS_REMEMBERED)(proxies.find_client)
        self._heads = PlainHeads(
            path, proxy_header=proxies.header, body_max_bytes=gateway.settings.gateway.body_max_bytes
        )
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.list_plain())
        self._accepted_start = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n{fields}Content-Length: "
        # looking a child up by its labels takes longer than counting
        self._count_accepted = gateway.metrics.http_requests_total.labels(path, METHOD, ACCEPTED[0]).inc
        self._observe = gateway.metrics.http_seconds.labels(path).observe

    @property
    def start(self) -> bytes:
        """The first bytes of a request that may go this way."""
        return self._heads.start

    def begin(self, data: bytes, peer: str | None) -> Coroutine[Any, Any, Answer] | None:
        """The request in `data`, ready to be accepted; None: it has to go the long way. `peer`: who is connected."""
        started_at_s = time.perf_counter()
        head = self._heads.read(data)
        if head is None or len(data) != head.length + head.body_length or self._is_draining():
            return None
        grant = self._gateway.tokens.find_at_once(head.token)
        if grant is None:
            return None
        form = _read_form(data[head.length :])
        if form is None:
            return None
        application_id = str(form.application_id)
        if not (grant is MASTER or grant.application_id == application_id):
            return None
        if self._gateway.routes.organization_of(application_id) is None:
            return None
        try:
            event = make_event(
                self._gateway,
                application_id,
                form,
                event_id=str(form.event_id or uuid7()),
                ip=self._find_client(peer, head.forwarded),
            )
        except Problem:
            return None
        self._heads.remember(data, head)
        accepting = self._accept(event, is_own_id=form.event_id is None, started_at_s=started_at_s)
        return accepting if self._tracing is None else self._trace(self._tracing, head, accepting)

    async def _trace(self, tracing: "Tracing", head: PlainHead, accepting: Coroutine[Any, Any, Answer]) -> Answer:
        with tracing.serve(self._route, METHOD, head.trace) as span:
            answer = await accepting
            tracing.end_serving(span, answer.status)
            return answer

    async def _accept(self, event: Event, *, is_own_id: bool, started_at_s: float) -> Answer:
        try:
            warning = await accept(self._gateway, event, is_own_id=is_own_id)
        except Exception as error:  # everything: the client gets an answer, and the process goes on with the others
            answer = self._refuse(error)
        else:
            body = orjson.dumps(show_accepted(event, warning))
            answer = self._write(self._accepted_start, body, ACCEPTED[0])
            self._count_accepted()
        self._observe(time.perf_counter() - started_at_s)
        return answer

    def _refuse(self, error: Exception) -> Answer:
        if isinstance(error, Problem):
            self._gateway.metrics.events_refused_total.labels(error.kind.id).inc()
        response = answer_error(self._gateway, error, method=METHOD, route=self._route)
        self._gateway.metrics.http_requests_total.labels(self._route, METHOD, response.status).inc()
        for name, value in self._headers.list_plain():
            response.headers[name] = value
        return self._write(_write_start(response), _take_body(response), response.status)

    def _write(self, start: str, body: bytes, status: int) -> Answer:
        closes = self._is_draining()
        end = "Connection: close\r\n\r\n" if closes else "\r\n"
        head = f"{start}{len(body)}\r\nDate: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n{end}"
        return Answer(head.encode("latin-1") + body, closes, status)


def _read_form(body: bytes) -> EventForm | None:
    """A body that is as documented, and has no NUL; None: the long way describes the problem."""
    if NUL_ESCAPED in body or find_json_problem(body) is not None:
        return None
    try:
        return decode_event_form(body)
    except msgspec.DecodeError:  # of which a wrong form is one kind
        return None


def _write_start(response: web.Response) -> str:
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{fields}Content-Length: "


def _take_body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)  # noqa: S101 - every problem has one
    return response.body
