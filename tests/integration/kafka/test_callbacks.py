"""Calls of the client from within its own callbacks: a wrong one ends the process, with an assertion."""

import asyncio
import subprocess
import sys
from textwrap import dedent

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import declare_topics

PROGRAM = dedent(
    """
    import sys, time
    from confluent_kafka import Consumer, KafkaError, KafkaException
    from pipeline.config import KafkaConfig
    from pipeline.kafka.options import consumer_options
    from pipeline.kafka.partitions import find_ends

    class Moved(Consumer):
        def offsets_for_times(self, *_, **__):
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))

    config = KafkaConfig(bootstrap_servers=sys.argv[1])
    found, reported = {}, []

    def on_assign(consumer, parts):
        found.update(find_ends(consumer, [(part.topic, part.partition) for part in parts], config))
        reported.clear()

    options = consumer_options(config, group=sys.argv[2], member=None, linger_s=0, linger_bytes=1)
    consumer = Moved(options | {"statistics.interval.ms": 1, "stats_cb": reported.append}, logger=None)
    consumer.subscribe([sys.argv[2]], on_assign=on_assign)
    deadline_s = time.monotonic() + 60
    while not (found and reported) and time.monotonic() < deadline_s:
        consumer.poll(5)
    print(len(found), bool(reported))
    """
)


async def test_a_leader_changes_while_partitions_are_assigned(kafka: str, topic_prefix: str) -> None:
    """The ends are asked for within the callback, and the client has more to report in the same `poll`."""
    topics = declare_topics(prefix=topic_prefix, partitions=2, event_retention_s=86_400)
    await asyncio.to_thread(
        apply_topics, KafkaConfig(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=2), topics
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAM, kafka, topics.events.name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "2 True\n") == (done.returncode, done.stdout), done.stderr
