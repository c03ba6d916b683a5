"""Writes events straight into Kafka, without the HTTP API: as plain JSON, or in Avro with --avro.

    pip install confluent-kafka
    python examples/kafka_producer.py --bootstrap-servers 127.0.0.1:9092 \\
        --application-id ID --event-type shop.order.paid

Only --avro needs this repository (its package `schemas`). What a record must look like: docs/kafka-producers.md.
"""

import argparse
import json
import time
import uuid
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer


def make_producer(bootstrap_servers: str) -> Producer:
    """A producer as Hookline needs it."""
    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            # the same key meets the same partition as with all other producers; librdkafka's own default differs
            "partitioner": "murmur2_random",
            # acknowledged means: by all in-sync replicas, once, in order
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            # how long it tries; the default is five minutes
            "message.timeout.ms": 30_000,
        }
    )


def format_json(application_id: str, event_type: str, payload: str, labels: dict[str, str]) -> bytes:
    """An event as plain JSON. An `event_id` of your own makes it count once however often you send it."""
    return json.dumps(
        {
            "application_id": application_id,
            "event_id": str(uuid.uuid4()),
            "event_type": event_type,
            "payload": payload,
            "payload_content_type": "application/json",
            "labels": labels,
        }
    ).encode()


def format_avro(application_id: str, event_type: str, payload: str, labels: dict[str, str]) -> bytes:
    """Encode an event in Avro: smaller than JSON, and quicker to read."""
    import schemas

    now_us = time.time_ns() // 1000
    return schemas.encode(
        "event",
        {
            "application_id": application_id,
            "event_id": str(uuid.uuid4()),
            "event_type": event_type,
            "payload": payload.encode(),
            "payload_content_type": "application/json",
            "labels": labels,
            "metadata": {},
            "occurred_at_us": now_us,
            "received_at_us": now_us,
            "ip": None,
        },
    )


def produce(producer: Producer, topic: str, application_id: str, values: Iterable[bytes]) -> list[tuple[int, int]]:
    """Write the records and wait for the brokers; partition and offset of each. Raises `KafkaException`."""
    placed: list[tuple[int, int]] = []
    failed: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            placed.append((message.partition() or 0, message.offset() or 0))

    for value in values:
        # the key is the application: an application's events stay in order, and meet their routes
        producer.produce(topic, key=application_id.encode(), value=value, on_delivery=on_delivery)
        producer.poll(0)
    producer.flush()
    if failed:
        raise KafkaException(failed[0])
    return placed


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, write, print where the records are."""
    parser = argparse.ArgumentParser(description="Write events straight into Kafka.")
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT")
    parser.add_argument("--application-id", required=True)
    parser.add_argument("--event-type", required=True, help="one that the application has")
    parser.add_argument("--topic", default="hookline.events")
    parser.add_argument("--payload", default=json.dumps({"order": 42}), help="JSON")
    parser.add_argument("--label", action="append", metavar="KEY=VALUE", help="what subscriptions select by")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--avro", action="store_true", help="Avro in single-object encoding instead of JSON")
    given = parser.parse_args(arguments)
    labels = dict(pair.split("=", 1) for pair in given.label or ["environment=demo"])
    form = format_avro if given.avro else format_json
    values = [form(given.application_id, given.event_type, given.payload, labels) for _ in range(given.count)]
    try:
        placed = produce(make_producer(given.bootstrap_servers), given.topic, given.application_id, values)
    except KafkaException as error:
        raise SystemExit(f"not all of it was acknowledged: {error.args[0]}") from None
    for partition, offset in placed:
        print(f"{given.topic} partition {partition} offset {offset}")  # noqa: T201


if __name__ == "__main__":
    main()
