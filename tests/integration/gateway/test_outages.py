"""The API while Kafka or PostgreSQL is away, and its recovery without help."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from pipeline.core.events.records import to_bytes
from pipeline.embedded.kafka import EmbeddedKafka
from tests.integration.gateway.health import read_health
from tests.support.api import Reply, Space, describe_event, describe_type
from tests.support.eventually import eventually
from tests.support.outbound import make_gone_state
from tests.support.outside_producer import OutsideProducer
from tests.support.people import PASSWORD, make_person
from tests.support.proxy import TcpProxy
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"


async def test_kafka_away(tmp_path: Path, postgres: str, migrated_template: str) -> None:
    """Events get a 503 with Retry-After and never a 2xx without Kafka; back again they are accepted, each once."""
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


async def test_changes_while_kafka_is_away(tmp_path: Path, postgres: str, migrated_template: str) -> None:
    """A change gets a 503 that says whether it was saved, and none leaves a transaction open while it waits."""
    broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path)
    try:
        settings = {"KAFKA_PRODUCE_TIMEOUT_S": "2"}
        async with run_stack(broker.bootstrap_servers, postgres, migrated_template, "gateway", **settings) as stack:
            space = await stack.api.make_space(TYPE)
            port = int(broker.bootstrap_servers.rpartition(":")[2])
            await asyncio.to_thread(broker.stop)
            changes, reads, left_open = await change_without_kafka(stack, space)
            broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path, port=port)

            async def takes_effect() -> bool:
                event = describe_event(space.application_id, "billing.invoice.verb0")
                return (await stack.api.call("POST", "/event", event, token=space.secret)).status == 201

            # saved before Kafka was known to be away: published as soon as it is back
            await eventually(takes_effect, timeout_s=60)

        assert {(503, "ServiceUnavailable")} == {reply.problem for reply in changes}
        assert "was saved" in changes[0].json["detail"]
        assert "Nothing was changed" in changes[-1].json["detail"]
        assert [200] * len(reads) == [reply.status for reply in reads]
        assert "billing.invoice.never" not in reads[-1].text
        assert 0 == left_open
    finally:
        await asyncio.to_thread(broker.stop)


async def change_without_kafka(stack: Stack, space: Space) -> tuple[list[Reply], list[Reply], int]:
    """Changes while Kafka is away, the last one once that is known; reads meanwhile; transactions seen left open."""
    names = [f"billing.invoice.verb{number}" for number in range(20)]
    bodies = [describe_type(space.application_id, name) for name in names]
    changing = [asyncio.create_task(stack.api.call("POST", "/event_types", body)) for body in bodies]
    reads, left_open = [], 0
    with psycopg.connect(stack.database_url, autocommit=True) as database:
        for _ in range(20):
            # half of the time that a change waits for Kafka; a busy gateway is idle in one for less
            reads.append(await stack.api.call("GET", f"/applications?organization_id={space.organization_id}"))
            row = database.execute(
                "select count(*) from pg_stat_activity where datname = current_database() "
                "and state = 'idle in transaction' and now() - state_change > interval '1 s'"
            ).fetchone()
            left_open += row[0] if row is not None else 0
            await asyncio.wait(changing, timeout=0.1)
    changes = await asyncio.gather(*changing)
    last = describe_type(space.application_id, "not.saved.ever")

    async def refuse() -> Reply | None:
        reply = await stack.api.call("POST", "/event_types", last)
        return reply if "Nothing was changed" in reply.text else None

    await eventually(refuse)
    never = describe_type(space.application_id, "billing.invoice.never")
    changes.append(await stack.api.call("POST", "/event_types", never))
    reads.append(await stack.api.call("GET", f"/event_types?application_id={space.application_id}"))
    return changes, reads, left_open


async def test_postgresql_away(kafka: str, postgres: str, migrated_template: str) -> None:
    """Events are accepted and delivered without PostgreSQL; reads and changes wait for it, with a 503 that says so."""
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
            person = await make_person(stack.api)
            invitation = {"email": person.email, "role": "editor"}
            await stack.api.call("POST", f"/organizations/{space.organization_id}/invite", invitation)
            as_person = replace(space, secret=person.access)
            before = await stack.api.send(as_person, TYPE)
            await eventually(lambda: len(receiver.requests()) == 1)
            proxy.cut()
            sent = [await stack.api.send(space, TYPE) for _ in range(4)]
            # a session that was seen before goes on; a new one waits for the database
            sent.append(await stack.api.send(as_person, TYPE))
            login = await stack.api.call("POST", "/auth/login", {"email": person.email, "password": PASSWORD})
            sent += [await stack.api.send(space, TYPE, event_id=None) for _ in range(5)]
            await eventually(lambda: len(receiver.requests()) == 11)
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
                return reply.status == 200 and {event["event_id"] for event in reply.json} == {before, *sent}

            await eventually(are_archived, timeout_s=60)

            assert (503, "ServiceUnavailable") == read.problem
            assert (503, "ServiceUnavailable") == login.problem
            assert (503, "ServiceUnavailable") == change.problem
            assert "Retry-After" in read.headers
            # the path of a request is not logged: a secret may stand in it
            assert {(503, "ServiceUnavailable")} == {reply.problem for reply in about_a_secret}
            (gateway,) = stack.processes["gateway"]
            assert "database_unavailable" in gateway.log_path.read_text()
            assert space.secret not in gateway.log_path.read_text()


async def test_postgresql_refuses(kafka: str, postgres: str, migrated_template: str) -> None:
    """A table that is missing for background work, and a state that no table takes, do not end a gateway."""
    async with run_stack(kafka, postgres, migrated_template, "gateway", QUOTAS_EVENTS_PER_DAY="100") as stack:
        (gateway,) = stack.processes["gateway"]
        space = await stack.api.make_space(TYPE)
        await stack.api.send(space, TYPE)  # whose quota is asked for from now on
        producer = OutsideProducer(kafka)
        no_id = make_gone_state("none either", "no id")
        producer.write_bytes(stack.topics.endpoint_states, b"no id", to_bytes(no_id))
        producer.flush()
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            for table in ("applications", "attempts_to_tell"):
                connection.execute(f"alter table {table} rename to {table}_gone".encode())

        async def are_refused() -> bool:
            problem = (await read_health(gateway)).text
            return all(work in problem for work in ("telling: relation", "usage: relation", "agreement: relation"))

        await eventually(are_refused, timeout_s=60)
        await eventually(lambda: "endpoint_state_failed_internally" in gateway.log(), timeout_s=60)

        path = f"/applications?organization_id={space.organization_id}"
        refused = [
            await stack.api.call("GET", path),
            await stack.api.call(
                "POST", "/applications", {"organization_id": space.organization_id, "name": "Another"}
            ),
        ]
        assert await stack.api.send(space, TYPE)
        assert gateway.is_running
        assert "database_refused" in gateway.log()
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            for table in ("applications", "attempts_to_tell"):
                connection.execute(f"alter table {table}_gone rename to {table}".encode())
        shown = await stack.api.call("GET", path)

    assert {(503, "ServiceUnavailable")} == {reply.problem for reply in refused}
    assert [space.application_id] == [each["application_id"] for each in shown.json]


async def test_a_constraint_refuses_background_work(kafka: str, postgres: str, migrated_template: str) -> None:
    """A constraint of the operator's ended every gateway; health names the work, and events are accepted meanwhile."""
    async with run_stack(kafka, postgres, migrated_template, "gateway", QUOTAS_EVENTS_PER_DAY="100") as stack:
        (gateway,) = stack.processes["gateway"]
        space = await stack.api.make_space(TYPE)
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute("alter table event_usage add constraint none check (amount < 0) not valid")
            await stack.api.send(space, TYPE)

            async def is_refused() -> bool:
                return "usage: new row for relation" in (await read_health(gateway)).text

            await eventually(is_refused, timeout_s=60)
            assert await stack.api.send(space, TYPE)
            assert gateway.is_running
            connection.execute("alter table event_usage drop constraint none")

            def is_counted() -> bool:
                return connection.execute("select amount from event_usage").fetchall() == [(2,)]

            await eventually(is_counted, timeout_s=60)
