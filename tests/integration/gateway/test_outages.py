"""What the API does while Kafka or PostgreSQL is away, and that it recovers by itself."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from pipeline.embedded.kafka import EmbeddedKafka
from tests.support.api import describe_event
from tests.support.eventually import eventually
from tests.support.proxy import TcpProxy
from tests.support.receiver import Receiver
from tests.support.stack import run_stack

TYPE = "billing.invoice.paid"


async def test_kafka_away(tmp_path: Path, postgres: str, migrated_template: str) -> None:
    """Without Kafka events get a 503 with Retry-After and never a 2xx; back again they are accepted, each once."""
    broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path)
    port = int(broker.bootstrap_servers.rpartition(":")[2])
    try:
        names = ("gateway", "matcher", "deliver", "archive")
        async with (
            run_stack(
                broker.bootstrap_servers, postgres, migrated_template, *names, KAFKA_PRODUCE_TIMEOUT_S="2"
            ) as stack,
            Receiver() as receiver,
        ):
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
            await stack.api.send(space, TYPE)
            await asyncio.to_thread(broker.stop)
            bodies = [describe_event(space.application_id, TYPE, event_id=str(uuid4())) for _ in range(50)]
            refused = await asyncio.gather(
                *(stack.api.call("POST", "/event", body, token=space.secret) for body in bodies)
            )
            broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path, port=port)
            accepted = []
            for body in bodies:

                async def send() -> int:
                    reply = await stack.api.call("POST", "/event", body, token=space.secret)  # noqa: B023 - in this turn
                    return reply.status if reply.status in (201, 409) else 0

                accepted.append(await eventually(send, timeout_s=60))
            await eventually(lambda: len({r.header("webhook-id") for r in receiver.requests()}) == 51, timeout_s=90)

            assert {(503, "ServiceUnavailable")} == {reply.problem for reply in refused}
            assert all(int(reply.headers["Retry-After"]) > 0 for reply in refused)
            assert {body["event_id"] for body in bodies} < {r.header("X-Event-Id") for r in receiver.requests()}
    finally:
        await asyncio.to_thread(broker.stop)


async def test_postgresql_away(kafka: str, postgres: str, migrated_template: str) -> None:
    """Without PostgreSQL events are accepted and delivered; reads and changes wait for it, with a 503 that says so."""
    parts = urlsplit(postgres)
    assert parts.hostname is not None
    async with TcpProxy(parts.hostname, parts.port or 5432) as proxy, Receiver() as receiver:
        names = ("gateway", "matcher", "deliver", "archive")
        async with run_stack(
            kafka,
            postgres,
            migrated_template,
            *names,
            database_at=proxy.address,
            DATABASE_CONNECT_TIMEOUT_S="1",
            GATEWAY_ARCHIVE_WAIT_S="1",
        ) as stack:
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
            proxy.cut()
            sent = [await stack.api.send(space, TYPE) for _ in range(5)]
            sent += [await stack.api.send(space, TYPE, event_id=None) for _ in range(5)]
            await eventually(lambda: len(receiver.requests()) == 10)
            read = await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
            change = await stack.api.call("POST", "/organizations", {"name": "Acme"})
            path = f"/application_secrets/{space.secret}"
            query = f"?application_id={space.application_id}"
            about_a_secret = [
                await stack.api.call("DELETE", path + query),
                await stack.api.call("DELETE", f"/{path}/{query}"),
                await stack.api.call("PUT", path, {"application_id": space.application_id, "name": "x"}),
            ]
            proxy.restore()

            async def are_archived() -> bool:
                reply = await stack.api.call("GET", f"/events?application_id={space.application_id}")
                return reply.status == 200 and {event["event_id"] for event in reply.json} == set(sent)

            await eventually(are_archived, timeout_s=60)

            assert (503, "ServiceUnavailable") == read.problem
            assert (503, "ServiceUnavailable") == change.problem
            assert "Retry-After" in read.headers
            # the path of a request is not logged: a secret may stand in it
            assert {(503, "ServiceUnavailable")} == {reply.problem for reply in about_a_secret}
            (gateway,) = stack.processes["gateway"]
            assert "database_unavailable" in gateway.log_path.read_text()
            assert space.secret not in gateway.log_path.read_text()
