"""The API after PostgreSQL failed over: sessions that take no changes are given up as soon as there are better ones."""

import psycopg
from psycopg.sql import SQL, Identifier

from tests.integration.gateway.health import read_health
from tests.support.eventually import eventually
from tests.support.postgres import name_of
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
# five seconds on a machine that does nothing else; a session that is kept lives for an hour
RECOVERY_MAX_S = 60.0
END_OTHERS = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> "
    "pg_backend_pid()"
)


async def test_read_only_sessions_are_given_up(kafka: str, postgres: str, migrated_template: str) -> None:
    """Changes get a 503, and health says so, while the server takes none; soon after it does, a secret is revoked."""
    async with run_stack(kafka, postgres, migrated_template, "gateway") as stack:
        space = await stack.api.make_space(TYPE)
        path = f"/application_secrets/{space.secret}?application_id={space.application_id}"
        with psycopg.connect(stack.database_url, autocommit=True) as admin:
            admin.execute("set default_transaction_read_only = off")
            alter = SQL("alter database {} set default_transaction_read_only = {}")
            admin.execute(alter.format(Identifier(name_of(stack.database_url)), SQL("on")))
            admin.execute(END_OTHERS)
            refused = [await stack.api.call("DELETE", path) for _ in range(10)]
            # what was accepted while PostgreSQL takes no changes
            accepted = await stack.api.send(space, TYPE)
            said = await eventually(lambda: read_degraded(stack))
            admin.execute(alter.format(Identifier(name_of(stack.database_url)), SQL("off")))

            async def revoke() -> bool:
                return (await stack.api.call("DELETE", path)).status == 204

            await eventually(revoke, timeout_s=RECOVERY_MAX_S)

        assert {(503, "ServiceUnavailable")} == {reply.problem for reply in refused}
        assert accepted
        assert (200, "degraded") == said


async def read_degraded(stack: Stack) -> tuple[int, str] | None:
    found = await read_health(stack.processes["gateway"][0])
    return (found.status, found.json["status"]) if found.json["status"] != "ok" else None
