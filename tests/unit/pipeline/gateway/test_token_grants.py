import asyncio

import psycopg
import pytest

from pipeline.core.rights import Actor, Grant
from pipeline.gateway.token_grants import BELIEVED_S, TokenGrants

TOKEN = b"hash"
ACME = Grant(actor=Actor(kind="service_token", actor_id="acme"))


class Database:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.grant: Grant | None = ACME
        self.is_away = False
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def find(self, _: bytes) -> Grant | None:
        self.asked += 1
        self.was_asked.set()
        grant = self.grant
        await self.may_answer.wait()
        if self.is_away:
            raise psycopg.OperationalError
        return grant


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_answer_is_believed_for_less_than_a_second() -> None:
    """A token that was revoked at another gateway is refused here within a second."""
    database, clock = Database(), Clock()
    grants = TokenGrants(database.find, clock=clock, wall_clock=clock)

    assert ACME == await grants.find_grant(TOKEN)
    database.grant = None
    clock.now_s += BELIEVED_S - 0.01
    assert ACME == await grants.find_grant(TOKEN)
    clock.now_s += 0.02
    assert await grants.find_grant(TOKEN) is None
    assert 2 == database.asked
    assert BELIEVED_S < 1


async def test_a_token_that_was_revoked_here_is_refused_at_once() -> None:
    """The answer to an earlier question, still under way, does not bring it back."""
    database, clock = Database(), Clock()
    grants = TokenGrants(database.find, clock=clock, wall_clock=clock)
    database.may_answer.clear()
    earlier = asyncio.create_task(grants.find_grant(TOKEN))
    await database.was_asked.wait()
    database.grant = None
    grants.forget(TOKEN)
    database.may_answer.set()

    assert ACME == await earlier
    assert await grants.find_grant(TOKEN) is None


async def test_while_postgresql_is_away_what_was_valid_stays_valid() -> None:
    """Nothing can be revoked meanwhile. A token that was never seen is unknown, not refused."""
    database, clock = Database(), Clock()
    grants = TokenGrants(database.find, clock=clock, wall_clock=clock)
    assert ACME == await grants.find_grant(TOKEN)
    database.is_away = True
    clock.now_s += 3600

    assert ACME == await grants.find_grant(TOKEN)
    with pytest.raises(psycopg.OperationalError):
        await grants.find_grant(b"other")


async def test_requests_of_one_moment_share_a_question() -> None:
    """A thousand requests with one token cost one query."""
    database, clock = Database(), Clock()
    grants = TokenGrants(database.find, clock=clock, wall_clock=clock)

    found = await asyncio.gather(*(grants.find_grant(TOKEN) for _ in range(1000)))

    assert all(grant is ACME for grant in found)
    assert 1 == database.asked


async def test_what_expires_is_not_valid_any_more() -> None:
    """A token expires while PostgreSQL is away, too, and while an answer about it is still believed."""
    database, clock = Database(), Clock()
    database.grant = Grant(actor=Actor(kind="user", actor_id="u"), expires_at_s=100.2)
    grants = TokenGrants(database.find, clock=clock, wall_clock=clock)

    assert database.grant == await grants.find_grant(TOKEN)
    clock.now_s += 0.3
    assert await grants.find_grant(TOKEN) is None
    database.is_away = True
    clock.now_s += 10
    assert await grants.find_grant(TOKEN) is None
