"""The report of `GET /health`: whether this gateway accepts requests, and how its services answer."""

import asyncio
import hmac
import time
from dataclasses import dataclass
from typing import TypedDict

from pydantic import SecretStr

from pipeline.kafka.reachable import KafkaProbe
from pipeline.postgres.pool import DatabaseUnavailable, Pool
from pipeline.process import Process

# The report is public: however many requests come, the database is queried once in this time.
KEPT_S = 1.0
DATABASE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DatabaseAnswer:
    """Did the primary answer, and after how long?"""

    is_well: bool
    duration_ms: int


class HealthReport(TypedDict):
    """The answer of `GET /health`. Durations are null for what this instance does not have."""

    database: bool
    kafka: bool
    pulsar: None
    object_storage: None
    database_duration_ms: int
    kafka_duration_ms: int
    pulsar_duration_ms: None
    object_storage_duration_ms: None
    total_duration_ms: int
    problems: dict[str, str]


class ApiHealth:
    """One for the process."""

    def __init__(self, process: Process, pool: Pool, kafka: KafkaProbe, *, key: SecretStr | None) -> None:
        self._process = process
        self._pool = pool
        self._kafka = kafka
        self._key = key.get_secret_value() if key is not None else None
        self._asking = asyncio.Lock()
        self._asked_at_s = float("-inf")
        self._answer = DatabaseAnswer(is_well=False, duration_ms=0)

    def is_draining(self) -> bool:
        """Has the stop of the process begun?"""
        return self._process.stopping.is_set()

    def may_ask(self, key: str) -> bool:
        """Is this the key, or none needed?"""
        return self._key is None or hmac.compare_digest(key.encode(), self._key.encode())

    async def describe(self) -> tuple[bool, HealthReport]:
        """Is the gateway ready; and the report. The database decides nothing: without it events are accepted and
        delivered.
        """
        database = await self._ask_database()
        problems = self._process.list_unready()
        report: HealthReport = {
            "database": database.is_well,
            "kafka": self._kafka.check() is None,
            "pulsar": None,
            "object_storage": None,
            "database_duration_ms": database.duration_ms,
            "kafka_duration_ms": self._kafka.duration_ms,
            "pulsar_duration_ms": None,
            "object_storage_duration_ms": None,
            "total_duration_ms": database.duration_ms + self._kafka.duration_ms,
            "problems": problems,
        }
        return not problems, report

    async def _ask_database(self) -> DatabaseAnswer:
        async with self._asking:
            if time.monotonic() - self._asked_at_s > KEPT_S:
                started_at_s = time.perf_counter()
                is_well = await does_answer(self._pool)
                self._answer = DatabaseAnswer(is_well, round((time.perf_counter() - started_at_s) * 1000))
                self._asked_at_s = time.monotonic()
            return self._answer


async def does_answer(pool: Pool) -> bool:
    """Does the database answer in time?"""
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), pool.connection() as connection:
            await connection.execute("SELECT 1")
    except (*DatabaseUnavailable, TimeoutError):
        return False
    return True
