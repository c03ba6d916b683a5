"""Every subscription's endpoint in memory, for the sink that sends to them. Secrets stay sealed here."""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.events.records import Endpoint, expect
from pipeline.core.routing.endpoints import Endpoints
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.view import LogView
from pipeline.topics import Topic
from schemas import SchemaError

log = structlog.get_logger()


class EndpointsView:
    """Follows the endpoints topic."""

    def __init__(
        self, config: KafkaConfig, topic: Topic, faults: ReadFaults | None = None, ids: TopicIds | None = None
    ) -> None:
        self._endpoints = Endpoints(event_retention_s=config.event_retention_s)
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self.on_deleted: Callable[[str], None] = lambda _: None  # called with a subscription's id
        self._view = LogView(config, topic, self._apply, faults, ids)

    async def start(self) -> None:
        """Read all that is there. Raises `StartError`."""
        await self._view.start()

    async def close(self) -> None:
        await self._view.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        return self._view.check()

    def take_incomplete(self) -> bool:
        """Was a batch stepped over since the last call? Any subscription may then lack its newest endpoint."""
        return self._view.take_incomplete()

    def __len__(self) -> int:
        return len(self._endpoints)

    def get(self, subscription_id: str) -> Endpoint | None:
        """The newest endpoint of a subscription; deleted and disabled ones are here too, and say so."""
        return self._endpoints.get(subscription_id)

    def is_alive(self, subscription_id: str) -> bool:
        """Is there such a subscription, not deleted?"""
        return self._endpoints.is_alive(subscription_id)

    def list_active(self) -> Iterator[Endpoint]:
        """Endpoints that are neither deleted nor disabled."""
        return self._endpoints.list_active()

    def list_present(self) -> Iterator[Endpoint]:
        """Endpoints that are not deleted."""
        return self._endpoints.list_present()

    async def wait_for(self, subscription_id: str, timeout_s: float) -> Endpoint | None:
        """The endpoint of a subscription that may be so new that it has not been read yet."""
        if subscription_id not in self._endpoints:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(subscription_id, []).append(future)
            try:
                await asyncio.wait([future], timeout=timeout_s)
            finally:
                if not future.done():
                    self._stop_waiting(subscription_id, future)  # it may never come
        return self._endpoints.get(subscription_id)

    def _stop_waiting(self, subscription_id: str, future: "asyncio.Future[None]") -> None:
        waiting = self._waiting[subscription_id]
        waiting.remove(future)
        if not waiting:
            del self._waiting[subscription_id]

    def _apply(self, key: str, value: bytes | None, appended_at_us: int) -> None:
        if value is None:
            self._endpoints.remove(key)
            self.on_deleted(key)
            return
        try:
            endpoint = expect(Endpoint, value)
        except SchemaError as error:
            log.error("endpoint_unreadable", subscription_id=key, reason=str(error))
            return
        self._endpoints.apply(endpoint, appended_at_us)
        if not self._endpoints.is_alive(key):
            self.on_deleted(key)
        for future in self._waiting.pop(key, ()):
            if not future.done():
                future.set_result(None)
