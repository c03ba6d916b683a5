import asyncio

import psycopg
import pytest

from pipeline.gateway.service_grants import BELIEVED_S, ServiceGrants

TOKEN = b"hash"


class Database:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.organization_id: str | None = "acme"
        self.is_away = False
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find(self, _: bytes) -> str | None:
        self.asked += 1
        self.was_asked.set()
        organization_id = self.organization_id
        await self.may_answer.wait()
        if self.is_away:
            raise psycopg.OperationalError
        return organization_id


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_answer_is_believed_for_less_than_a_second() -> None:
    """So that a token that was revoked at another gateway is refused here within one."""
    database, clock = Database(), Clock()
    grants = ServiceGrants(database.find, clock=clock)

    assert "acme" == await grants.find_organization(TOKEN)
    database.organization_id = None
    clock.now_s += BELIEVED_S - 0.01
    assert "acme" == await grants.find_organization(TOKEN)
    clock.now_s += 0.02
    assert await grants.find_organization(TOKEN) is None
    assert 2 == database.asked
    assert BELIEVED_S < 1


async def test_a_token_that_was_revoked_here_is_refused_at_once() -> None:
    """Also when the answer to an earlier question is still under way."""
    database, clock = Database(), Clock()
    grants = ServiceGrants(database.find, clock=clock)
    database.may_answer.clear()
    earlier = asyncio.create_task(grants.find_organization(TOKEN))
    await database.was_asked.wait()
    database.organization_id = None
    grants.forget(TOKEN)
    database.may_answer.set()

    assert "acme" == await earlier
    assert await grants.find_organization(TOKEN) is None


async def test_while_postgresql_is_away_what_was_valid_stays_valid() -> None:
    """Nothing can be revoked meanwhile. A token that was never seen is unknown, not refused."""
    database, clock = Database(), Clock()
    grants = ServiceGrants(database.find, clock=clock)
    assert "acme" == await grants.find_organization(TOKEN)
    database.is_away = True
    clock.now_s += 3600

    assert "acme" == await grants.find_organization(TOKEN)
    with pytest.raises(psycopg.OperationalError):
        await grants.find_organization(b"other")


async def test_requests_of_one_moment_share_a_question() -> None:
    """A thousand requests with one token cost one query."""
    database, clock = Database(), Clock()
    grants = ServiceGrants(database.find, clock=clock)

    assert {"acme"} == set(await asyncio.gather(*(grants.find_organization(TOKEN) for _ in range(1000))))
    assert 1 == database.asked
