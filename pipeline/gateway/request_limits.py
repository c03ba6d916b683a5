"""How many requests are served: of all callers, of one address, of one token. Off unless settings say otherwise."""

from collections.abc import Callable

from aiohttp import web

from pipeline.config import GatewayConfig
from pipeline.core.limits.request_rate import RequestRate
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.problems import Problem

ALL = "all"


class RequestLimits:
    """One gateway's. Each gateway counts for itself."""

    def __init__(self, config: GatewayConfig, *, clock: Callable[[], float]) -> None:
        """`clock`: seconds, monotonic."""
        self._clock = clock
        self._of_address = _make(config.address_rate_per_s, config.address_burst)
        self._of_token = _make(config.token_rate_per_s, config.token_burst)
        self._of_all = _make(config.rate_per_s, config.burst)
        # a limit that is unused yet is empty, and so false
        self.is_on = any(rate is not None for rate in (self._of_address, self._of_token, self._of_all))

    def check(self, request: web.Request) -> None:
        """Count a request. Raises `Problem("RateLimited")` when it is one too many.

        The address comes first: a flood uses up neither the limit of a token nor the one that all callers share.
        """
        now_s = self._clock()
        if self._of_address is not None:
            _take(self._of_address, find_client_address(request), now_s, "from this address")
        if self._of_token is not None and (token := request.headers.get("Authorization")) is not None:
            _take(self._of_token, token, now_s, "with this token")
        if self._of_all is not None:
            _take(self._of_all, ALL, now_s, "to this instance")


def _make(rate_per_s: float, burst: int) -> RequestRate | None:
    return RequestRate(rate_per_s=rate_per_s, burst=burst) if rate_per_s else None


def _take(rate: RequestRate, key: str | None, now_s: float, whose: str) -> None:
    wait_s = rate.take(key, now_s)
    if wait_s > 0:
        raise Problem("RateLimited", detail=f"Too many requests {whose}.", retry_after_s=wait_s)
