"""A broker that loses the end of one topic after another in crashes, under load: everything goes on, and says so.

What was acknowledged and is gone cannot be brought back; it is counted, by who wrote it or by who had read it.
"""

import asyncio
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import Topic
from tests.chaos.loads import Load
from tests.integration.damage.conftest import OwnBroker
from tests.integration.damage.test_wrong_bits import ask
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, Status
from tests.support.stack import PARTITIONS, Stack, run_stack

TYPE = "billing.invoice.paid"
NAMES = ("gateway", "matcher", "deliver", "archive")
BATCHES_LOST = 5
# On a busy machine; what was measured is in docs/chaos.md.
GO_ON_MAX_S = 30.0


class Figures(NamedTuple):
    took_s: float
    lost: float


async def crash(broker: OwnBroker, topic: Topic) -> None:
    """Kill the broker, lose the last batches of every partition of `topic`, and start it at the same address."""
    port = int(broker.servers.rpartition(":")[2])
    os.kill(broker.kafka.pid, signal.SIGKILL)
    await eventually(lambda: not broker.kafka.is_alive())
    broker.kafka.stop()
    for number in range(PARTITIONS):
        segment = broker.segment(topic, number)
        batches = segment.batches()
        if batches:
            segment.cut(batches[max(0, len(batches) - BATCHES_LOST)])
    broker.kafka = await asyncio.to_thread(EmbeddedKafka.start, broker.data_dir, port=port)


async def count_lost(stack: Stack, topic: Topic) -> float:
    total = 0.0
    for (process,) in stack.processes.values():
        _, metrics = await ask(process, "/metrics")
        for line in metrics.splitlines():
            if re.match(rf'hookline_lost_offsets_total\{{.*topic="{re.escape(topic.name)}"', line):
                total += float(line.rpartition(" ")[2])
    return total


async def lose_tail(stack: Stack, broker: OwnBroker, topic: Topic, load: Load, receiver: Receiver) -> Figures:
    """How long until an event goes all the way again, and how many offsets are said to be lost."""
    await eventually(lambda: sum(len(broker.segment(topic, each).batches()) for each in range(PARTITIONS)) > 3)
    before = await count_lost(stack, topic)
    await crash(broker, topic)
    began_at_s = time.monotonic()
    await load.go_all_the_way(receiver)
    took_s = time.monotonic() - began_at_s

    async def count_new() -> float:
        return await count_lost(stack, topic) - before

    return Figures(round(took_s, 1), await eventually(count_new, timeout_s=60))


async def test_a_tail_that_is_lost_of_each_topic(tmp_path: Path, postgres: str, migrated_template: str) -> None:
    """An event is accepted, delivered and archived again within seconds; the loss is counted. 9 crashes."""
    broker = OwnBroker(await asyncio.to_thread(EmbeddedKafka.start, tmp_path), tmp_path)
    figures: dict[str, Figures] = {}
    try:
        async with (
            run_stack(broker.servers, postgres, migrated_template, *NAMES, KAFKA_PRODUCE_TIMEOUT_S="2") as stack,
            Receiver() as receiver,
        ):
            receiver.script("/sick", Status(500))
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
            sick = await stack.api.subscribe(space, receiver.url("/sick"), TYPE, delivery={"retry_delays_s": [1, 1, 1]})
            load = Load(stack, space, sick, receiver.url("/sick"))
            long_waits = stack.topics.retries[1:]
            async with beside(load.run()):
                for topic in stack.topics.all():
                    if topic not in long_waits:
                        figures[topic.name] = await lose_tail(stack, broker, topic, load, receiver)
                        print(topic.name, figures[topic.name], flush=True)  # noqa: T201 - of a long test
    finally:
        await asyncio.to_thread(broker.kafka.stop)

    assert GO_ON_MAX_S >= max(each.took_s for each in figures.values())
