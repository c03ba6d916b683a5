"""The documented limits together: 10,000 subscriptions in one application, each for 100 types and with 10 labels.

Prints what a change costs, how long gateway and matcher take to start, and how much memory they have then.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from pipeline.topics import Topic
from tests.support.api import Api, Space, describe_event, describe_subscription, describe_type
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack, run_stack

SUBSCRIPTIONS = 10_000
TYPES = [f"shop.order.verb{number:03}" for number in range(100)]
LABELS = {f"label-{number}": f"value-{number}" for number in range(9)}
AT_ONCE = 16
CHANGES = 20


def read_from(kafka: str, topic: Topic, begins: dict[int, int]) -> int:
    """Bytes of keys and values from these offsets to the ends."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "full-size"}, logger=None)
    try:
        size = 0
        for number, begin in begins.items():
            end = consumer.get_watermark_offsets(TopicPartition(topic.name, number), timeout=10)[1]
            consumer.assign([TopicPartition(topic.name, number, begin)])
            while begin < end:
                message = consumer.poll(10)
                assert message is not None
                begin = (message.offset() or 0) + 1
                size += len(message.key() or b"") + len(message.value() or b"")
        return size
    finally:
        consumer.close()


def find_ends(kafka: str, topic: Topic) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "full-size"}, logger=None)
    try:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic.name, number), timeout=10)[1]
            for number in range(topic.partitions)
        }
    finally:
        consumer.close()


def read_memory_mib(process: SingleProcess) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024


async def fill(api: Api, space: Space, url: str) -> list[dict[str, Any]]:
    """All subscriptions, some at once."""
    for name in TYPES:
        created = await api.call("POST", "/event_types", describe_type(space.application_id, name))
        assert created.status == 201, created.text
    made: list[dict[str, Any]] = []
    numbers = iter(range(SUBSCRIPTIONS))

    async def make() -> None:
        for number in numbers:
            labels = {**LABELS, "own": f"{number}"}
            made.append(await api.subscribe(space, url, *TYPES, labels=labels))

    await asyncio.gather(*(make() for _ in range(AT_ONCE)))
    return made


async def measure_changes(stack: Stack, space: Space, made: list[dict[str, Any]], url: str) -> tuple[float, float]:
    """Median time of one change in ms, and its bytes in the log."""
    topics = (stack.topics.routes, stack.topics.endpoints)
    before = [find_ends(stack.kafka.bootstrap_servers, topic) for topic in topics]
    took_s = []
    for number in range(CHANGES):
        body = describe_subscription(space.application_id, url, *TYPES, labels={**LABELS, "own": f"changed {number}"})
        began_at_s = time.perf_counter()
        reply = await stack.api.call("PUT", f"/subscriptions/{made[number]['subscription_id']}", body)
        took_s.append(time.perf_counter() - began_at_s)
        assert reply.status == 200, reply.text
    size = sum(
        read_from(stack.kafka.bootstrap_servers, topic, begins) for topic, begins in zip(topics, before, strict=True)
    )
    return sorted(took_s)[CHANGES // 2] * 1000, size / CHANGES


async def measure_start(stack: Stack, name: str) -> tuple[float, int]:
    """Seconds until another one is ready, and its memory in MiB."""
    began_at_s = time.perf_counter()
    async with SingleProcess(name, stack.environ) as process:
        await process.wait_ready()
        return time.perf_counter() - began_at_s, read_memory_mib(process)


async def test_the_documented_limits_together(kafka: str, postgres: str, migrated_template: str) -> None:
    """A change takes effect for the next event; what it costs does not depend on the others."""
    names = ("gateway", "matcher", "deliver", "archive")
    async with (
        run_stack(kafka, postgres, migrated_template, *names, GATEWAY_SUBSCRIPTIONS_MAX="10000") as stack,
        Receiver() as receiver,
    ):
        space = await stack.api.make_space()
        began_at_s = time.perf_counter()
        made = await fill(stack.api, space, receiver.url("/a"))
        print(f"\n{len(made)} subscriptions made in {time.perf_counter() - began_at_s:.0f} s")  # noqa: T201
        change_ms, change_bytes = await measure_changes(stack, space, made, receiver.url("/a"))
        print(f"one change: {change_ms:.0f} ms (median of {CHANGES}), {change_bytes:.0f} bytes in the log")  # noqa: T201
        for name in ("gateway", "matcher"):
            start_s, memory_mib = await measure_start(stack, name)
            print(f"{name}: ready after {start_s:.1f} s, {memory_mib} MiB")  # noqa: T201
        for name, (process,) in stack.processes.items():
            print(f"{name}, running since before: {read_memory_mib(process)} MiB")  # noqa: T201
        body = describe_event(space.application_id, TYPES[7], labels={**LABELS, "own": "9999"})
        reply = await stack.api.call("POST", "/event", body, token=space.secret)
        assert reply.status == 201, reply.text
        (arrived,) = await eventually(lambda: receiver.requests("/a"), timeout_s=60)

    assert SUBSCRIPTIONS == len(made)
    assert reply.json["event_id"] == arrived.header("X-Event-Id")
