"""Loads for a whole installation while it is damaged."""

import asyncio
from typing import Any
from uuid import uuid4

import aiohttp
from confluent_kafka import Producer

from tests.support.api import Space, describe_event, describe_subscription
from tests.support.eventually import eventually
from tests.support.pace import paced
from tests.support.receiver import Receiver
from tests.support.stack import MASTER_KEY, Stack

TYPE = "billing.invoice.paid"
ROUND_INTERVAL_S = 0.1
WITHIN_S = 60.0


def describe_payload(event_id: str) -> str:
    """Make a payload by which a receiver recognizes the event that was sent."""
    return f'{{"event":"{event_id}","fill":"{event_id * 8}"}}'


class Load:
    """Events, changes of a subscription and unreadable records, until it is stopped."""

    def __init__(self, stack: Stack, space: Space, sick: dict[str, Any], url: str) -> None:
        self._stack, self._space, self._sick, self._url = stack, space, sick, url
        self._producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers})
        self.accepted: set[str] = set()

    async def run(self) -> None:
        async for number in paced(ROUND_INTERVAL_S, skips_missed=True):
            calls = [self.send() for _ in range(5)]
            if number % 5 == 4:
                calls.append(self._change(number))
                self._producer.produce(self._stack.topics.events.name, key=b"k", value=b"no event")
                self._producer.poll(0)
            await asyncio.gather(*calls)

    async def send(self, event_id: str | None = None) -> bool:
        event_id = event_id or str(uuid4())
        payload = describe_payload(event_id)
        body = describe_event(self._space.application_id, TYPE, event_id=event_id, payload=payload)
        is_accepted = await self._call("POST", "/event", body) in (201, 409)
        if is_accepted:
            self.accepted.add(event_id)
        return is_accepted

    async def is_shown(self, event_id: str) -> bool:
        path = f"/events/{event_id}?application_id={self._space.application_id}"
        return (await self._stack.api.call("GET", path, token=self._space.secret)).status == 200

    async def go_all_the_way(self, receiver: Receiver) -> None:
        """Wait until one more event is accepted, arrives at `/a`, and is shown."""
        event_id = str(uuid4())
        await eventually(lambda: self.send(event_id), timeout_s=WITHIN_S)
        await eventually(
            lambda: any(each.header("X-Event-Id") == event_id for each in receiver.requests("/a")), timeout_s=WITHIN_S
        )
        await eventually(lambda: self.is_shown(event_id), timeout_s=WITHIN_S)

    async def _change(self, number: int) -> bool:
        body = describe_subscription(self._space.application_id, self._url, TYPE, description=f"{number}")
        return await self._call("PUT", f"/subscriptions/{self._sick['subscription_id']}", body) == 200

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> int:
        token = self._space.secret if path == "/event" else MASTER_KEY
        try:
            return (await self._stack.api.call(method, path, body, token=token)).status
        except (aiohttp.ClientError, TimeoutError):
            return 0
