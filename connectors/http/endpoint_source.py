"""Where the http sink finds endpoints."""

from typing import Protocol

from pipeline.core.events.records import Endpoint


class EndpointSource(Protocol):
    """A view of the endpoints topic."""

    def get(self, subscription_id: str) -> Endpoint | None: ...

    async def wait_for(self, subscription_id: str, timeout_s: float) -> Endpoint | None: ...
