"""One request for one delivery: build and sign it, send it, measure how long it took."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from connectors.http.client.exchange import ErrorClass, Failure, Request, Result
from connectors.http.client.shortage import ShortageError
from connectors.http.message import HeaderError, Signing
from connectors.http.open_requests import OpenRequestBook
from connectors.http.portions import Portions, choose_spread_s
from connectors.http.steps import Steps
from connectors.http.target import Target
from pipeline.clock import monotonic_us
from pipeline.core.events.claim_check import Payload
from pipeline.core.events.records import Delivery
from pipeline.kill_points import KillPoints
from pipeline.metrics import Metrics

if TYPE_CHECKING:
    from pipeline.tracing import Tracing


class Client(Protocol):
    """Sends requests."""

    async def send(self, request: Request) -> Result: ...


class Sent(NamedTuple):
    """A request and its result. Times are microseconds since the epoch."""

    result: Result
    headers: dict[str, str]  # of the request; none when it could not be built
    started_at_us: int
    finished_at_us: int


class Sender:
    """Sends by the `Client` it is given."""

    def __init__(
        self,
        client: Client,
        signing: Signing,
        steps: Steps,
        *,
        open_requests: OpenRequestBook,
        kill_points: KillPoints,
        metrics: Metrics,
        clock_us: Callable[[], int],
        tracing: "Tracing | None",
    ) -> None:
        self._client = client
        self._signing = signing
        self._steps = steps
        self._kill_points = kill_points
        self._metrics = metrics
        self._clock_us = clock_us
        # None as well where receivers are not to see the trace
        self._tracing = tracing if tracing is not None and tracing.to_receivers else None
        self._open = open_requests
        self._portions = Portions()

    async def send(self, delivery: Delivery, target: Target, payload: Payload) -> Sent:
        """Send the request. Raises `ShortageError` when this process lacked something."""
        # the duration is of the monotonic clock: the other one may be set while the request is open
        started_at_us, begun_us = self._clock_us(), monotonic_us()
        self._kill_points.reach("before_sending")
        self._open.begin(delivery, started_at_us)
        self._metrics.requests_open.set(len(self._open))
        try:
            result, headers = await self._exchange(delivery, target, payload, started_at_us)
        finally:
            self._open.end(delivery)
        if isinstance(result, Failure) and result.error_class is ErrorClass.LOCAL:
            raise ShortageError(result.detail)
        self._kill_points.reach("after_sending")
        took_us = monotonic_us() - begun_us
        spread_s = choose_spread_s(took_us, self._steps.draw_jitter())
        if spread_s:
            await asyncio.sleep(spread_s)
        if spread_s or isinstance(result, Failure):
            await self._portions.take()
        return Sent(result, headers, started_at_us, started_at_us + took_us)

    async def _exchange(
        self, delivery: Delivery, target: Target, payload: Payload, now_us: int
    ) -> tuple[Result, dict[str, str]]:
        if target.problem is not None:
            return Failure(error_class=ErrorClass.INVALID_TARGET, detail=target.problem), {}
        try:
            traceparent = None if self._tracing is None else self._tracing.show_parent()
            request, headers = self._steps.build(
                delivery, target, self._signing, payload=payload, signed_at_us=now_us, traceparent=traceparent
            )
        except HeaderError as error:
            return Failure(error_class=ErrorClass.INVALID_HEADER, detail=str(error)), {}
        return await self._client.send(request), headers
