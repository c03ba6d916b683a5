"""Every subscription's endpoint, by its newest record; of a deleted one only what cancelling needs, for a while.

A deleted endpoint is remembered until no delivery to it can be waiting any more, and then forgotten: subscriptions come
and go for years. The time is that of the newest record, as the broker stamps them.
"""

import heapq
from collections.abc import Iterator

import msgspec

from pipeline.core.events.records import Endpoint
from pipeline.core.routing.delivery_settings import DELAY_MAX_S
from pipeline.core.units import SECOND_US


class Endpoints:
    """The endpoints, in memory. `event_retention_s`: how long a delivery can lie in the log before its first read."""

    def __init__(self, *, event_retention_s: float) -> None:
        # then it may wait for a retry, once: when that is due it is cancelled
        self._keep_us = int((event_retention_s + 2 * DELAY_MAX_S) * SECOND_US)
        self._endpoints: dict[str, Endpoint] = {}
        self._deleted: list[tuple[int, str, int]] = []  # a heap: when, which, its version
        self._newest_us = 0

    def __len__(self) -> int:
        return len(self._endpoints)

    def __contains__(self, subscription_id: str) -> bool:
        return subscription_id in self._endpoints

    def get(self, subscription_id: str) -> Endpoint | None:
        """The newest endpoint of a subscription; deleted and disabled ones are here too, and say so."""
        return self._endpoints.get(subscription_id)

    def is_alive(self, subscription_id: str) -> bool:
        """Is the endpoint known, and not deleted?"""
        endpoint = self._endpoints.get(subscription_id)
        return endpoint is not None and not endpoint.deleted

    def list_active(self) -> Iterator[Endpoint]:
        """Endpoints that are neither deleted nor disabled."""
        return (endpoint for endpoint in self._endpoints.values() if endpoint.enabled and not endpoint.deleted)

    def list_present(self) -> Iterator[Endpoint]:
        """Endpoints that are not deleted."""
        return (endpoint for endpoint in self._endpoints.values() if not endpoint.deleted)

    def apply(self, endpoint: Endpoint, appended_at_us: int) -> None:
        """Take a record. One that is older than what is known changes nothing."""
        self._newest_us = max(self._newest_us, appended_at_us)
        known = self._endpoints.get(endpoint.subscription_id)
        if known is None or endpoint.version >= known.version:
            self._endpoints[endpoint.subscription_id] = _strip(endpoint) if endpoint.deleted else endpoint
            if endpoint.deleted:
                heapq.heappush(self._deleted, (appended_at_us, endpoint.subscription_id, endpoint.version))
        self._forget()

    def remove(self, subscription_id: str) -> None:
        """Forget an endpoint: its record has no value."""
        self._endpoints.pop(subscription_id, None)

    def _forget(self) -> None:
        while self._deleted and self._deleted[0][0] < self._newest_us - self._keep_us:
            _, subscription_id, version = heapq.heappop(self._deleted)
            endpoint = self._endpoints.get(subscription_id)
            if endpoint is not None and endpoint.deleted and endpoint.version == version:
                del self._endpoints[subscription_id]


def _strip(endpoint: Endpoint) -> Endpoint:
    """Drop secrets and all that only sending needs. Method and URL stand in cancelled attempts."""
    return msgspec.structs.replace(
        endpoint,
        headers={},
        secrets=[],
        retry_delays_s=None,
        tls_ca_pem=None,
        tls_client_cert_pem=None,
        tls_client_key=None,
    )
