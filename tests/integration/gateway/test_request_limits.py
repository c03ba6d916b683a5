"""Limits of requests, and what browsers are told: a gateway of its own with these settings."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.support.stack import MASTER_KEY, Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://shop.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    """A token may send three requests at once, and then one in a hundred seconds."""
    settings = {
        "GATEWAY_TOKEN_RATE_PER_S": "0.01",
        "GATEWAY_TOKEN_BURST": "3",
        "GATEWAY_CORS_ORIGINS": f"{PAGE} https://other.example",
        "GATEWAY_HSTS_MAX_AGE_S": "3600",
    }
    async with run_stack(kafka, postgres, migrated_template, "gateway", **settings) as running:
        yield running


async def test_one_token_too_often(limited: Stack) -> None:
    """The answer says to wait and how long; other tokens, and a balancer's health checks, are not concerned."""
    replies = [await limited.api.call("GET", "/organizations") for _ in range(4)]
    other = await limited.api.call("GET", "/organizations", token="7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a12")
    health = [await limited.api.call("GET", "/health") for _ in range(5)]

    assert [200, 200, 200] == [reply.status for reply in replies[:3]]
    assert (429, "RateLimited") == replies[3].problem
    assert 0 < int(replies[3].headers["Retry-After"]) <= 100
    assert (403, "AuthInvalidBiscuit") == other.problem
    assert {200} == {reply.status for reply in health}
    assert MASTER_KEY not in replies[3].text


async def test_a_path_with_slashes_counts_once(limited: Stack) -> None:
    """Another spelling of a path is one request, of the route that it means; a balancer may spell it so too."""
    token = "7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a13"
    replies = [await limited.api.call("GET", "//organizations/", token=token) for _ in range(4)]
    health = [await limited.api.call("GET", "/health/", token=token) for _ in range(2)]
    address = (await limited.processes["gateway"][0].wait_ready())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(address) as page:
        shown = await page.text()

    assert [403, 403, 403, 429] == [reply.status for reply in replies]
    assert {200} == {reply.status for reply in health}
    assert 'hookline_http_requests_total{method="GET",route="/api/v1/organizations",status="429"}' in shown
    assert 'hookline_http_seconds_count{route="unknown"} 0.0' in shown


async def test_pages_of_listed_origins_may_use_it(limited: Stack) -> None:
    """A preflight is answered with what is allowed; a page of another origin is told nothing."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = await limited.api.call("OPTIONS", "/event", headers={"Origin": PAGE} | asked)
    refused = await limited.api.call("OPTIONS", "/event", headers={"Origin": "https://evil.example"} | asked)
    answered = await limited.api.call("GET", "/instance", headers={"Origin": PAGE})

    assert 204 == allowed.status
    assert PAGE == allowed.headers["Access-Control-Allow-Origin"]
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    assert not [name for name in refused.headers if name.startswith("Access-Control")]
    assert (PAGE, "Origin") == (answered.headers["Access-Control-Allow-Origin"], answered.headers["Vary"])


async def test_browsers_are_kept_to_https(limited: Stack) -> None:
    """A setting switches it on, since a gateway behind plain HTTP must not say so."""
    reply = await limited.api.call("GET", "/instance", headers={})

    assert "max-age=3600; includeSubDomains" == reply.headers["Strict-Transport-Security"]


@pytest.mark.asyncio(loop_scope="package")
async def test_nothing_of_it_by_default(stack: Stack) -> None:
    """A gateway without these settings limits no one, and says nothing to pages."""
    replies = [await stack.api.call("GET", "/organizations", headers={"Origin": PAGE}) for _ in range(30)]

    assert (401, "AuthNoAuthorizationHeader") == replies[-1].problem
    for name in ("Access-Control-Allow-Origin", "Strict-Transport-Security", "Vary"):
        assert name not in replies[-1].headers
