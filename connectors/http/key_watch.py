"""Which endpoints wait for a sealing key that this process lacks. No others wait; health and the log say so."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from connectors.http.shortages import WAIT_MAX_S, WAIT_MIN_S, WAIT_SHARE
from pipeline.core.events.records import Endpoint
from pipeline.core.signing.sealing import Sealed, Sealer, UnsealError
from pipeline.kafka.log_clock import wall_us
from pipeline.metrics import Metrics
from pipeline.start_error import StartError

LOG_INTERVAL_S = 60.0

log = structlog.get_logger()


class EndpointList(Protocol):
    """All endpoints that are known."""

    def list_active(self) -> Iterable[Endpoint]:
        """Endpoints that are neither deleted nor disabled."""


class KeyWatch:
    """Compares the keys that endpoints are sealed with to the keys of this process."""

    def __init__(
        self,
        endpoints: EndpointList,
        sealer: Sealer,
        metrics: Metrics,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        clock_us: Callable[[], int] = wall_us,
    ) -> None:
        """`clock_us`: by which a secret is still valid."""
        self._endpoints = endpoints
        self._sealer = sealer
        self._metrics = metrics
        self._clock_s = clock_s
        self._clock_us = clock_us
        self._since_s: dict[str, float] = {}
        self._logged_s = float("-inf")
        self._unusable: Mapping[str, int] = {}  # key id → endpoints that wait for it

    def verify(self) -> None:
        """Verify the keys at the start. Raises `StartError` when there are endpoints and none of them is usable."""
        total = self.look()
        waiting = sum(self._unusable.values())
        if total and waiting >= total:
            raise StartError(
                f"none of the {total} endpoints can be signed for: this process lacks the sealing keys "
                f"{self._name_keys()}; give them in HOOKLINE_SEALING_KEY_FILE or HOOKLINE_SEALING_KEYS"
            )

    def look(self) -> int:
        """Look through all endpoints; returns how many there are. Called every few seconds."""
        total, waiting, usable = 0, Counter[str](), dict[str, bool]()
        now_us = self._clock_us()
        for endpoint in self._endpoints.list_active():
            total += 1
            for key_id in list_unusable_keys(endpoint, self._sealer, usable, now_us):
                waiting[key_id] += 1
                break  # counted once
        self._unusable = dict(waiting)
        self._metrics.endpoints_without_key.set(sum(waiting.values()))
        if waiting and self._clock_s() - self._logged_s >= LOG_INTERVAL_S:
            self._logged_s = self._clock_s()
            log.error("sealing_keys_missing", keys=self._name_keys(), endpoints=sum(waiting.values()))
        for key_id in [key_id for key_id in self._since_s if key_id not in waiting]:
            del self._since_s[key_id]
        return total

    def wait_us(self, key_id: str) -> int:
        """A delivery needs this key: how long it should wait, in microseconds."""
        now_s = self._clock_s()
        since_s = self._since_s.setdefault(key_id, now_s)
        return round(min(max(WAIT_MIN_S, WAIT_SHARE * (now_s - since_s)), WAIT_MAX_S) * 1_000_000)

    def check(self) -> str | None:
        """Health: None, or which keys are missing."""
        if not self._unusable:
            return None
        return f"{sum(self._unusable.values())} endpoints wait for the sealing keys {self._name_keys()}"

    def _name_keys(self) -> str:
        return ", ".join(sorted(ascii(key_id) for key_id in self._unusable))


def list_unusable_keys(endpoint: Endpoint, sealer: Sealer, usable: dict[str, bool], now_us: int) -> list[str]:
    """Keys that an endpoint needs and that are not here, or do not open what they should.

    `usable`: what is known of keys already; a key that is here is tried on the first secret that names it.
    """
    found = []
    for secret in endpoint.secrets:
        key_id = secret["key_id"]
        if secret["valid_until_us"] is not None and secret["valid_until_us"] <= now_us:
            continue  # nothing is signed with it any more
        if key_id not in usable:
            usable[key_id] = _opens(sealer, key_id, secret["sealed"], endpoint.subscription_id)
        if not usable[key_id]:
            found.append(key_id)
    if endpoint.tls_client_key is not None and not sealer.has(endpoint.tls_client_key["key_id"]):
        found.append(endpoint.tls_client_key["key_id"])
    return found


def _opens(sealer: Sealer, key_id: str, sealed: bytes, context: str) -> bool:
    try:
        sealer.unseal(Sealed(key_id=key_id, sealed=sealed), context=context)
    except UnsealError:
        return False
    return True
