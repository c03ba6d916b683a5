"""Faults of an installation that a test draws at random: processes, services, database, topics, and endpoints."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import psycopg
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.core.process_kinds import PROCESS_KINDS
from tests.support.api import Api, Reply
from tests.support.eventually import eventually
from tests.support.processes import HooklineUp
from tests.support.receiver import Hang, ReceiverProcess, Reset, Slow, Status
from tests.support.receiver.script import Step

COUNTS = {"gateway": 1, "matcher": 2, "deliver": 2, "archive": 2}
SERVICES = ("kafka", "postgres")
LASTS_MAX_S = 12.0
BACK_S = 120.0
ALLOW_CHANGES = (
    "set default_transaction_read_only = off",
    "alter system reset default_transaction_read_only",
    "select pg_reload_conf()",
)
TROUBLES: tuple[Step, ...] = (Status(500), Status(429), Status(404), Hang(), Reset(), Slow(3_000))


@dataclass(slots=True, kw_only=True)
class Faults:
    """An installation, and the draw of what happens to it.

    `flaky`: paths whose endpoints may be in trouble. `hostile`: the bodies of subscriptions that change, by their ids.
    """

    up: HooklineUp
    receiver: ReceiverProcess
    topics: tuple[str, ...]
    flaky: tuple[str, ...]
    hostile: Mapping[str, dict[str, Any]]
    draw: random.Random

    async def strike(self) -> str:
        """One fault, from its beginning to its end; its name."""
        kinds: Mapping[str, Callable[[], Awaitable[str]]] = {
            "kill": self._kill,
            "kill several": self._kill_several,
            "stop": self._stop,
            "freeze": self._freeze,
            "service": self._harm_service,
            "sessions": self._end_sessions,
            "read only": self._refuse_changes,
            "locks": self._lock_table,
            "topic": self._refuse_records,
            "endpoint": self._trouble_endpoint,
            "changes": self._change_subscriptions,
        }
        return await kinds[self.draw.choice(sorted(kinds))]()

    def _choose_process(self) -> tuple[str, int]:
        name = self.draw.choice(PROCESS_KINDS)
        return name, self.draw.randint(1, COUNTS[name])

    def _send(self, name: str, number: int, sent: signal.Signals) -> str:
        try:
            self.up.send(name, sent, number)
        except (LookupError, OSError, ValueError):
            return f"{name}.{number} is away"  # of a fault before
        return f"{sent.name} to {name}.{number}"

    async def _rest(self) -> float:
        seconds = self.draw.uniform(0.5, LASTS_MAX_S)
        await asyncio.sleep(seconds)
        return seconds

    async def _kill(self) -> str:
        return self._send(*self._choose_process(), signal.SIGKILL)

    async def _kill_several(self) -> str:
        chosen = self.draw.sample([(name, n + 1) for name in PROCESS_KINDS for n in range(COUNTS[name])], 3)
        return ", ".join(self._send(name, number, signal.SIGKILL) for name, number in chosen)

    async def _stop(self) -> str:
        return self._send(*self._choose_process(), signal.SIGTERM)

    async def _freeze(self) -> str:
        chosen = self._choose_process()
        said = self._send(*chosen, signal.SIGSTOP)
        seconds = await self._rest()
        return f"{said}, {seconds:.1f} s later {self._send(*chosen, signal.SIGCONT)}"

    async def _harm_service(self) -> str:
        name = self.draw.choice(SERVICES)
        if self.draw.random() < 0.5:
            return self._send(name, 1, signal.SIGKILL)
        said = self._send(name, 1, signal.SIGSTOP)
        seconds = await self._rest()
        return f"{said}, {seconds:.1f} s later {self._send(name, 1, signal.SIGCONT)}"

    async def _end_sessions(self) -> str:
        await self._ask_database(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname is not null"
        )
        return "every session with PostgreSQL ended"

    async def _refuse_changes(self) -> str:
        await self._ask_database("alter system set default_transaction_read_only = on", "select pg_reload_conf()")
        try:
            seconds = await self._rest()
        finally:
            await eventually(lambda: self._ask_database(*ALLOW_CHANGES), timeout_s=BACK_S)
        return f"PostgreSQL read only for {seconds:.1f} s"

    async def _lock_table(self) -> str:
        table = self.draw.choice(("events", "deliveries", "attempts", "subscriptions"))
        seconds = self.draw.uniform(0.5, LASTS_MAX_S)
        await self._ask_database(f"begin; lock table {table}; select pg_sleep({seconds:.1f}); commit")
        return f"table {table} locked for {seconds:.1f} s"

    async def _refuse_records(self) -> str:
        topic = self.draw.choice(self.topics)
        if not await self._set_topic(topic, AlterConfigOpType.SET):
            return f"{topic} cannot be set"
        try:
            seconds = await self._rest()
        finally:
            await eventually(lambda: self._set_topic(topic, AlterConfigOpType.DELETE), timeout_s=BACK_S)
        return f"{topic} refuses records for {seconds:.1f} s"

    async def _set_topic(self, topic: str, operation: AlterConfigOpType) -> bool:
        entry = ConfigEntry("max.message.bytes", "60", incremental_operation=operation)
        changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.up.report.kafka}, logger=None)
        try:
            (future,) = admin.incremental_alter_configs([changed], request_timeout=5).values()
            await asyncio.to_thread(future.result, 10)
        except Exception:
            return False  # Kafka is away
        return True

    async def _trouble_endpoint(self) -> str:
        path, trouble = self.draw.choice(self.flaky), self.draw.choice(TROUBLES)
        await self.receiver.script(path, trouble)
        seconds = await self._rest()
        await self.receiver.script(path)
        return f"{path} answers with {trouble} for {seconds:.1f} s"

    async def _change_subscriptions(self) -> str:
        """Disable, enable and change hostile subscriptions, and make and delete one, while it may not be possible."""
        answered: Counter[int] = Counter()
        async with Api(self.up.report.api, self.up.report.master_api_key) as api:

            async def call(method: str, path: str, body: dict[str, Any] | None = None) -> Reply | None:
                try:
                    reply = await api.call(method, path, body)
                except (aiohttp.ClientError, TimeoutError):
                    answered[0] += 1
                    return None
                answered[reply.status] += 1
                return reply

            for _ in range(self.draw.randint(2, 10)):
                subscription_id = self.draw.choice(sorted(self.hostile))
                body = self.hostile[subscription_id]
                change = {"is_enabled": self.draw.random() < 0.5, "description": str(self.draw.random())}
                await call("PUT", f"/subscriptions/{subscription_id}", body | change)
                made = await call("POST", "/subscriptions", body | {"description": "made and deleted"})
                if made is not None and made.status == 201:
                    owner = body["application_id"]
                    path = f"/subscriptions/{made.json['subscription_id']}?application_id={owner}"
                    await call("DELETE", path)
        assert answered.keys() <= {0, 200, 201, 204, 503}, answered
        return f"changes of subscriptions: {dict(answered)}"

    async def _ask_database(self, *statements: str) -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(
                self.up.report.database_url, autocommit=True, connect_timeout=5
            ) as connection:
                for statement in statements:
                    await connection.execute(statement.encode())
        except psycopg.Error:
            return False  # PostgreSQL is away, of another fault
        return True
