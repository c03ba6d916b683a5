"""Logging in at an OpenID provider: a real gateway, a real HTTP server as the provider, and a browser that follows."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from tests.support.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from tests.support.people import make_person, new_email
from tests.support.stack import Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC_URL = "http://hookline.example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[OpenIdProvider]:
    async with OpenIdProvider() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str, provider: OpenIdProvider) -> AsyncIterator[Stack]:
    settings = {
        "GATEWAY_PUBLIC_URL": PUBLIC_URL,
        "ACCOUNTS_OIDC_ISSUER": provider.issuer,
        "ACCOUNTS_OIDC_CLIENT_ID": CLIENT_ID,
        "ACCOUNTS_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "ACCOUNTS_OIDC_REGISTRATION": "true",
        "ACCOUNTS_ADDRESS_BURST": "1000",
    }
    async with run_stack(kafka, postgres, migrated_template, "gateway", **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def honest(provider: OpenIdProvider) -> None:
    provider.claims, provider.is_forging = {}, False


async def log_in(stack: Stack, **changed: str) -> tuple[int, Any]:
    """Log in as a browser does; `changed` replace members of the provider's answer."""
    async with aiohttp.ClientSession() as browser:
        begun = await browser.get(f"{stack.api.url}/auth/oidc/login", allow_redirects=False)
        assert begun.status == 302, await begun.text()
        state_cookie = begun.cookies["hookline_oidc"]
        assert state_cookie["httponly"]
        back = await browser.get(begun.headers["Location"], allow_redirects=False)
        place = urlsplit(back.headers["Location"])
        assert f"{PUBLIC_URL}/api/v1/auth/oidc/callback" == place._replace(query="").geturl()
        query = dict(part.split("=") for part in place.query.split("&")) | changed
        cookies = {"Cookie": f"hookline_oidc={state_cookie.value}"}
        reply = await browser.get(f"{stack.api.url}/auth/oidc/callback", params=query, headers=cookies)
        return reply.status, await reply.json(content_type=None)


async def test_a_new_user_and_the_same_one_again(stack: Stack, provider: OpenIdProvider) -> None:
    """A new user has an organization, and is known by the provider's subject, whatever the address is later."""
    email = new_email()
    provider.claims = {"sub": email, "email": email}
    status, first = await log_in(stack)
    provider.claims = {"sub": email, "email": new_email()}
    _, second = await log_in(stack)
    listed = await stack.api.call("GET", "/organizations", token=second["access_token"])

    assert 201 == status, first
    assert (email, "Grace", "Hopper") == (first["email"], first["first_name"], first["last_name"])
    assert first["user_id"] == second["user_id"]
    assert [("Grace Hopper", "editor")] == [(each["name"], each["role"]) for each in listed.json]
    # there is no password that could be right
    for password in ("", "x", "None"):
        reply = await stack.api.call("POST", "/auth/login", {"email": email, "password": password})
        assert reply.status in (401, 422)


async def test_who_has_a_user_keeps_it(stack: Stack, provider: OpenIdProvider) -> None:
    """A user with the same verified address is kept; an address that the provider has not verified is refused."""
    person = await make_person(stack.api)
    provider.claims = {"sub": person.email, "email": person.email, "email_verified": False}
    unverified = await log_in(stack)
    provider.claims = {"sub": person.email, "email": person.email.upper()}
    status, session = await log_in(stack)
    provider.claims = {"sub": "another", "email": person.email}
    other = await log_in(stack)

    assert (401, "AuthEmailNotVerified") == (unverified[0], unverified[1]["id"])
    assert (201, person.user_id) == (status, session["user_id"])
    assert (409, "UserAlreadyExist") == (other[0], other[1]["id"])


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://elsewhere.example.org"},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another"]},
        {"exp": 1_000_000_000},
        {"nonce": "of another login"},
        {"sub": ""},
        {"sub": 7},
    ],
)
async def test_a_token_that_is_not_for_us(stack: Stack, provider: OpenIdProvider, claims: dict[str, Any]) -> None:
    """Each of its claims is checked."""
    provider.claims = claims
    status, answer = await log_in(stack)

    assert (401, "AuthFailedLogin") == (status, answer["id"])


async def test_a_token_that_is_signed_otherwise(stack: Stack, provider: OpenIdProvider) -> None:
    """A signature by a secret that the client knows is refused. A new key of the provider is found by itself."""
    provider.is_forging = True
    forged = await log_in(stack)
    provider.is_forging = False
    provider.claims = {"sub": "rotated", "email": new_email()}
    assert 201 == (await log_in(stack))[0]

    assert (401, "AuthFailedLogin") == (forged[0], forged[1]["id"])


@pytest.mark.parametrize(
    "changed", [{"state": "made up"}, {"code": "made up"}, {"code": ""}, {"code": "é"}, {"state": "é"}]
)
async def test_an_answer_that_was_made_up(stack: Stack, changed: dict[str, str]) -> None:
    """Neither another's login nor a guessed code is taken."""
    status, answer = await log_in(stack, **changed)

    assert (401, "AuthFailedLogin") == (status, answer["id"])


async def test_an_answer_without_the_cookie_is_nobody_s(stack: Stack) -> None:
    """A link with another person's answer does not log its receiver in."""
    reply = await stack.api.call("GET", "/auth/oidc/callback?state=x&code=y")

    assert (401, "AuthFailedLogin") == reply.problem
