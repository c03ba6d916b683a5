"""An http sink with nothing real around it: what it reads, asks and writes is in the test's hands."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.http.client.exchange import Answer, Request, Result
from connectors.http.endpoint_memory import EndpointMemory
from connectors.http.key_watch import KeyWatch
from connectors.http.ledger import Ledger
from connectors.http.outbox import Outbox
from connectors.http.payloads.payloads import Payloads
from connectors.http.payloads.spool import Spool
from connectors.http.shortages import Shortages
from connectors.http.sink import HttpSink
from connectors.http.steps import Steps
from connectors.sink import LogRecord
from pipeline.aside import Aside
from pipeline.config import Settings
from pipeline.core.events.records import (
    Attempt,
    DeadLetter,
    Delivery,
    Endpoint,
    EndpointState,
    Record,
    from_bytes,
    to_bytes,
)
from pipeline.kafka.producer import Placement, ToSend
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics
from tests.support.outbound import SEALER, make_delivery, make_endpoint

TOPICS = declare_topics(prefix="hookline.", partitions=4, event_retention_s=86_400)


class WrittenLog:
    """Takes records as the producer does, and acknowledges them at once."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Record]] = []
        self.error: Exception | None = None

    def send_bytes(self, records: Sequence[ToSend]) -> "asyncio.Future[Placement]":
        future: asyncio.Future[Placement] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
            return future
        for topic, _, value, *_ in records:
            self.written.append((topic.name.removeprefix("hookline."), from_bytes(value or b"")))
        future.set_result(Placement(0, len(self.written)))
        return future

    async def wait_open(self) -> None:
        """Return at once: the log takes records."""

    def names(self) -> list[str]:
        """Where records went, in order; without what was told of endpoints."""
        return [name for name, _ in self.written if name != "endpoint-states"]

    def attempts(self) -> list[Attempt]:
        return [record for _, record in self.written if isinstance(record, Attempt)]

    def retries(self) -> list[Delivery]:
        return [record for _, record in self.written if isinstance(record, Delivery)]

    def letters(self) -> list[DeadLetter]:
        return [record for _, record in self.written if isinstance(record, DeadLetter)]


SPOOL_BYTES = 1024 * 1024
ASIDE = Aside("payloads")  # one thread for all


class Endpoints:
    """The endpoints that are known."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.known = {endpoint.subscription_id: endpoint for endpoint in endpoints}

    def get(self, subscription_id: str) -> Endpoint | None:
        return self.known.get(subscription_id)

    async def wait_for(self, subscription_id: str, timeout_s: float) -> Endpoint | None:
        return self.known.get(subscription_id)

    def list_active(self) -> list[Endpoint]:
        return list(self.known.values())


class NoStates:
    """Nothing was ever told of an endpoint."""

    def get(self, subscription_id: str) -> EndpointState | None:
        return None

    def list_failing(self) -> list[str]:
        return []


class ScriptedClient:
    """Answers, or fails, as it is told."""

    def __init__(self, result: Result | BaseException | None = None) -> None:
        self.result = result or Answer(status=200, headers={}, body=b"ok")
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Result:
        self.requests.append(request)
        if isinstance(self.result, BaseException):
            raise self.result.with_traceback(None)  # which would grow each time
        return self.result


async def read_no_tail(starts: Mapping[int, int]) -> tuple[Sequence[LogRecord], Mapping[int, int]]:
    return [], dict.fromkeys(starts, 0)


class SinkAlone:
    """The sink and its surroundings. `parts`: what stands in for a collaborator."""

    def __init__(self, *endpoints: Endpoint, steps: Steps | None = None, **parts: Any) -> None:
        self.settings = Settings()
        self.metrics = Metrics("deliver")
        sealer = parts.pop("sealer", SEALER)
        self.log = WrittenLog()
        self.client = parts.pop("client", None) or ScriptedClient()
        self.endpoints = parts.pop("endpoints", None) or Endpoints(
            *(endpoints or [make_endpoint("https://example.com/")])
        )
        self.memory = parts.pop("memory", None) or EndpointMemory(
            self.settings.deliver,
            self.settings.worker,
            states=NoStates(),
            sealer=sealer,
            metrics=self.metrics,
        )
        self.ledger = Ledger(TOPICS.deliveries.name, read_tail=read_no_tail, recent_max=1000)
        self.sink = HttpSink(
            self.settings,
            TOPICS,
            endpoints=self.endpoints,
            memory=self.memory,
            client=self.client,
            ledger=self.ledger,
            outbox=Outbox(TOPICS, self.log, self.metrics),
            payloads=Payloads(parts.pop("sources", []), Spool(SPOOL_BYTES, None), ASIDE, self.metrics),
            keys=KeyWatch(self.endpoints, sealer, self.metrics),
            shortages=Shortages(self.metrics),
            metrics=self.metrics,
            steps=steps or Steps(),
            **parts,
        )

    async def put(self, delivery: Delivery | None = None, *, record: LogRecord | None = None) -> None:
        """Give the sink one delivery, and wait until it is settled."""
        settled = await self.sink.put([record or make_record(delivery or make_delivery())])
        if settled is not None:
            await settled


def make_record(delivery: Delivery, *, topic: str = "hookline.deliveries", offset: int = 0) -> LogRecord:
    """The record a delivery lies in."""
    return LogRecord(topic, 0, offset, delivery.subscription_id.encode(), to_bytes(delivery), delivery.matched_at_us)
