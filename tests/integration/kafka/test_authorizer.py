"""The recipe for ACLs of docs/kafka-producers.md, against a broker that refuses whatever is not allowed."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.core.events.producer_record import name_topic
from pipeline.embedded.kafka import EmbeddedKafka
from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_ports
from tests.support.processes import ROOT, select_environ
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

NAMES = ("gateway", "matcher", "deliver", "archive")
TYPE = "shop.order.paid"
USERS = {"hookline": "h-secret", "shop": "s-secret", "other": "o-secret"}
LOGIN_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


@dataclass(frozen=True, slots=True)
class Authorizing:
    """A broker with an authorizer. `open`: its listener for who may do everything; `guarded`: for users."""

    open: str
    guarded: str

    def allow(
        self, principal: str, resource: ResourceType, name: str, operation: AclOperation, **options: bool
    ) -> None:
        """Add an ACL, as `kafka-acls` does."""
        pattern = ResourcePatternType.PREFIXED if options.get("is_prefix") else ResourcePatternType.LITERAL
        binding = AclBinding(resource, name, pattern, principal, "*", operation, AclPermissionType.ALLOW)
        admin = AdminClient({"bootstrap.servers": self.open})
        for created in admin.create_acls([binding]).values():
            created.result(60)


@asynccontextmanager
async def run_broker(directory: Path) -> AsyncIterator[Authorizing]:
    """A broker with both listeners."""
    plain, guarded, controller = find_free_ports(3)
    known = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    extra = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{guarded},"
        f"CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{guarded}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{LOGIN_MODULE} required {known};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",
    }
    kafka = await asyncio.to_thread(EmbeddedKafka.start, directory, port=plain, controller_port=controller, extra=extra)
    try:
        yield Authorizing(kafka.bootstrap_servers, f"127.0.0.1:{guarded}")
    finally:
        await asyncio.to_thread(kafka.stop)


def log_in(broker: Authorizing, user: str, **options: str) -> dict[str, str]:
    """Options of a client."""
    given = {name.replace("_", "."): value for name, value in options.items()}
    return {
        "bootstrap.servers": broker.guarded,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": USERS[user],
        **given,
    }


async def write(broker: Authorizing, user: str, topic: str, value: bytes) -> KafkaError | None:
    """Write a record as a producer outside does; why it was refused."""
    found: list[KafkaError | None] = []

    def note(error: KafkaError | None, _: Message) -> None:
        found.append(error)

    producer = Producer(log_in(broker, user, message_timeout_ms="60000"), logger=None)
    producer.produce(topic, value, key=b"any", on_delivery=note)
    await asyncio.to_thread(producer.flush, 90)
    (error,) = found
    return error


def read(broker: Authorizing, user: str, topic: str) -> KafkaError | None:
    """Try to read a topic; why it was refused."""
    consumer = Consumer(log_in(broker, user, group_id="any", auto_offset_reset="earliest"), logger=None)
    try:
        consumer.subscribe([topic])
        message = consumer.poll(60)
        return None if message is None else message.error()
    finally:
        consumer.close()


def run_hookline(stack: Stack, *arguments: str) -> str:
    """A sub-command as the processes' user."""
    environ = select_environ(os.environ) | stack.environ
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def follow(broker: Authorizing, lines: Sequence[str]) -> None:
    """Do what the commands of `hookline topics producer` say."""
    for line in lines:
        (principal,) = re.findall(r"--allow-principal (\S+)", line)
        topic = re.search(r"--topic (\S+)", line)
        for name in re.findall(r"--operation (\w+)", line):
            operation = AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()]
            if topic is not None:
                broker.allow(principal, ResourceType.TOPIC, topic[1], operation)
            else:
                assert "--cluster" in line
                broker.allow(principal, ResourceType.BROKER, "kafka-cluster", operation)


async def test_the_recipe(postgres: str, migrated_template: str, tmp_path: Path) -> None:
    """Hookline works with its rights; a producer writes the topic of its application, and nothing else."""
    settings = {
        "KAFKA_USERNAME": "hookline",
        "KAFKA_PASSWORD": USERS["hookline"],
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "GATEWAY_PRODUCER_TOPICS": "true",
    }
    async with run_broker(tmp_path) as broker, Receiver() as receiver:
        for resource in (ResourceType.TOPIC, ResourceType.GROUP):
            broker.allow("User:hookline", resource, "stack-", AclOperation.ALL, is_prefix=True)
        async with run_stack(
            broker.open, postgres, migrated_template, *NAMES, KAFKA_BOOTSTRAP_SERVERS=broker.guarded, **settings
        ) as stack:
            space, others = await stack.api.make_space(TYPE), await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/"), TYPE)
            await stack.api.send(space, TYPE)
            await eventually(lambda: len(receiver.requests()) == 1, timeout_s=60)
            assert "nothing to do" in await asyncio.to_thread(run_hookline, stack, "topics", "apply")
            shown = await asyncio.to_thread(
                run_hookline, stack, "topics", "producer", space.application_id, "--principal", "User:shop"
            )
            await asyncio.to_thread(run_hookline, stack, "topics", "producer", others.application_id)
            name, *commands = shown.splitlines()
            assert name == name_topic(stack.kafka.topic_prefix, space.application_id)
            value = describe_event(space.application_id, TYPE, event_id=str(uuid4()))
            before = await write(broker, "shop", name, b"{}")
            assert before is not None
            assert before.code() in REFUSED
            follow(broker, commands)

            async def is_written() -> bool:
                return await write(broker, "shop", name, json.dumps(value).encode()) is None

            await eventually(is_written)
            await eventually(lambda: len(receiver.requests()) == 2, timeout_s=60)
            for topic in (name_topic(stack.kafka.topic_prefix, others.application_id), *list_topics(stack)):
                refused = await write(broker, "shop", topic, json.dumps(value).encode())
                assert refused is not None, topic
                assert refused.code() in REFUSED, refused
            broker.allow("User:shop", ResourceType.GROUP, "any", AclOperation.READ)

            async def is_unreadable() -> bool:
                """Brokers apply an ACL a moment after they have taken it: the group is refused until then."""
                error = await asyncio.to_thread(read, broker, "shop", stack.topics.events.name)
                return error is not None and error.code() in REFUSED

            await eventually(is_unreadable, timeout_s=120)
            stranger = await write(broker, "other", name, json.dumps(value).encode())
            assert stranger is not None
            assert stranger.code() in REFUSED
            assert 2 == len(receiver.requests())
            for processes in stack.processes.values():
                assert [] == [
                    line for line in processes[0].log().splitlines() if "authorization failed" in line.lower()
                ]


def list_topics(stack: Stack) -> list[str]:
    return [topic.name for topic in stack.topics.all()]
