"""Starting needs no more than running: without PostgreSQL, without a replica, among Kubernetes' variables."""

from urllib.parse import urlsplit

from tests.integration.gateway.health import read_health
from tests.support.eventually import eventually
from tests.support.proxy import TcpProxy
from tests.support.receiver import Receiver
from tests.support.stack import run_stack

TYPE = "billing.invoice.paid"
SERVICE_LINKS = {
    "PORT": "tcp://10.96.0.17:80",
    "SERVICE_HOST": "10.96.0.17",
    "GATEWAY_SERVICE_HOST": "10.96.0.18",
    "GATEWAY_SERVICE_PORT": "80",
    "PROCESS_METRICS_PORT": "tcp://10.96.0.19:9090",
}


async def test_started_without_postgresql(kafka: str, postgres: str, migrated_template: str) -> None:
    """Gateway, matcher and deliver start while PostgreSQL is away, and accept and deliver; configuring comes later."""
    parts = urlsplit(postgres)
    assert parts.hostname is not None
    names = ("gateway", "matcher", "deliver")
    async with (
        TcpProxy(parts.hostname, parts.port or 5432) as proxy,
        Receiver() as receiver,
        run_stack(
            kafka,
            postgres,
            migrated_template,
            *names,
            database_at=proxy.address,
            DATABASE_CONNECT_TIMEOUT_S="1",
            **SERVICE_LINKS,
        ) as stack,
    ):
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        for name in names:
            await stack.processes[name][0].kill()
        proxy.cut()
        for name in names:
            await stack.processes[name][0].start()
        (gateway,) = stack.processes["gateway"]
        stack.api.url = (await gateway.wait_ready())["api"]
        sent = await stack.api.send(space, TYPE)
        await eventually(lambda: {sent} == {request.header("X-Event-Id") for request in receiver.requests()})
        refused = await stack.api.call("POST", "/organizations", {"name": "Acme"})
        health = await read_health(gateway)
        proxy.restore()

        async def is_configured() -> bool:
            return (await stack.api.call("POST", "/organizations", {"name": "Acme"})).status == 200

        await eventually(is_configured)
        await eventually(lambda: "database_verified" in gateway.log())

        assert (503, "ServiceUnavailable") == refused.problem
        assert (200, "degraded", ["postgres"]) == (health.status, health.json["status"], [*health.json["problems"]])
        assert "starting_without_database" in gateway.log()
        # one warning each time
        assert [2, 2, 2] == [stack.processes[name][0].log().count("service_links_ignored") for name in names]


async def test_started_without_the_first_replica(kafka: str, postgres: str, migrated_template: str) -> None:
    """The first of several replicas that answers is read, and without any the primary."""
    parts = urlsplit(postgres)
    assert parts.hostname is not None
    async with TcpProxy(parts.hostname, parts.port or 5432) as proxy:
        nowhere = "postgresql://unknown@127.0.0.1:1/nothing"
        second = f"postgresql://{parts.netloc.rpartition('@')[0]}@{proxy.address}{parts.path}"
        async with run_stack(
            kafka,
            postgres,
            migrated_template,
            "gateway",
            DATABASE_READ_URLS=f"{nowhere} {second}",
            DATABASE_CONNECT_TIMEOUT_S="1",
            GATEWAY_ARCHIVE_WAIT_S="0",
        ) as stack:
            space = await stack.api.make_space(TYPE)
            path = f"/events?application_id={space.application_id}"
            (gateway,) = stack.processes["gateway"]

            async def problems() -> list[str]:
                return [*(await read_health(gateway)).json["problems"]]

            async def are(expected: list[str]) -> bool:
                return expected == await problems()

            await eventually(lambda: are(["postgres-reads-1"]))
            read = await stack.api.call("GET", path)
            proxy.cut()
            await eventually(lambda: are(["postgres-reads-1", "postgres-reads-2"]))
            read_from_primary = await stack.api.call("GET", path)

            assert [200, 200] == [read.status, read_from_primary.status]
