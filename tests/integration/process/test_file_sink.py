"""The example of a sink of one's own, as it is installed: its folder and its entry point, and nothing else."""

import asyncio
import json
import tomllib
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from pipeline.core.events.records import to_bytes
from tests.integration.archive.records import make_attempt, make_dispatch, make_event, make_id
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.support.eventually import eventually
from tests.support.processes import ROOT
from tests.support.single_process import SingleProcess

FOLDER = ROOT / "examples" / "file_sink"


def install(folder: Path) -> str:
    """Leave the entry point as `pip install ./examples/file_sink` would; the PYTHONPATH that finds both."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    dist_info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    ((group, points),) = project["entry-points"].items()
    lines = [f"{name} = {place}" for name, place in points.items()]
    (dist_info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return f"{folder}:{FOLDER}"


async def test_a_sink_of_ones_own(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Every attempt is a line, one that cannot be read as well; what was written is committed at the end."""
    _, topics = await make_topics(kafka, topic_prefix, partitions=1)
    attempts = [make_attempt(make_dispatch(make_event(make_id()), make_id())) for _ in range(20)]
    client = PlainClient(kafka)
    client.write(topics.attempts, [(b"k", to_bytes(each)) for each in attempts])
    client.write(topics.attempts, [(b"k", b"junk")])
    environ = {
        "PYTHONPATH": install(tmp_path),
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix,
        "HOOKLINE_KAFKA_PARTITIONS": "1",
    }
    async with SingleProcess("write-attempts", environ) as process:

        def read() -> list[dict[str, object]]:
            whole, _, _ = process.log().rpartition("\n")  # the last line may be half written
            lines = [json.loads(line) for line in whole.splitlines()]
            return [line for line in lines if "attempt_id" in line or "unreadable" in line]

        await eventually(lambda: len(read()) == 21)
        lines = read()

    assert [each.attempt_id for each in attempts] == [line.get("attempt_id") for line in lines[:-1]]
    assert (0, 20) == (lines[-1]["partition"], lines[-1]["offset"])
    assert 21 == await asyncio.to_thread(read_committed, kafka, f"{topic_prefix}write-attempts", topics.attempts.name)


def read_committed(kafka: str, group: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group}, logger=None)
    try:
        (part,) = consumer.committed([TopicPartition(topic, 0)], timeout=60)
        return int(part.offset)
    finally:
        consumer.close()
