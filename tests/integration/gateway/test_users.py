"""People: registering, logging in, and what a session may do, on real gateways."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from pipeline.postgres.control.sessions import REUSE_GRACE_S
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.mailbox import Mailbox
from tests.support.people import PASSWORD, describe_person, make_person, new_email
from tests.support.stack import Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW_PASSWORD = "sieben nasse Handtuecher"
PUBLIC = {"Content-Type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(kafka: str, postgres: str, migrated_template: str, mailbox: Mailbox) -> AsyncIterator[Stack]:
    """Two gateways with open registration."""
    settings = {
        "ACCOUNTS_REGISTRATION": "true",
        "ACCOUNTS_SMTP_URL": mailbox.url,
        "ACCOUNTS_APP_URL": "https://app.example.org/",
        "ACCOUNTS_ADDRESS_BURST": "1000",
        "ACCOUNTS_ACCOUNT_BURST": "5",
        "ACCOUNTS_ACCOUNT_RATE_PER_S": "0.0001",
    }
    async with run_stack(kafka, postgres, migrated_template, "gateway", "gateway", **settings) as running:
        yield running


async def log_in(api: Api, email: str, password: str = PASSWORD) -> tuple[int, str]:
    reply = await api.call("POST", "/auth/login", {"email": email, "password": password}, headers=PUBLIC)
    return (201, "") if reply.status == 201 else reply.problem


async def test_from_registering_to_logging_out(stack: Stack, mailbox: Mailbox) -> None:
    """A new user proves the address by the link, is logged in by it, acts in the own organization, and logs out."""
    email = new_email()
    made = await stack.api.call("POST", "/register", describe_person(email), headers=PUBLIC)
    before = await log_in(stack.api, email)
    (token,) = await eventually(lambda: mailbox.tokens(email))
    session = await stack.api.call("POST", "/auth/verify-email", {"token": token}, headers=PUBLIC)
    again = await stack.api.call("POST", "/auth/verify-email", {"token": token}, headers=PUBLIC)
    access = session.json["access_token"]
    organizations = await stack.api.call("GET", "/organizations", token=access)
    shown = await stack.api.call("GET", f"/organizations/{made.json['organization_id']}", token=access)
    ended = await stack.api.call("POST", "/auth/logout", token=access)

    assert 201 == made.status, made.text
    assert {"organization_id", "user_id"} == made.json.keys()
    assert (401, "AuthEmailNotVerified") == before
    assert f"https://app.example.org/verify-email?token={token}" in mailbox.to(email)[0]
    assert (409, "AuthEmailAlreadyVerified") == again.problem
    assert (201, "no-store") == (session.status, session.headers["Cache-Control"])
    assert {
        "access_token",
        "access_token_expiration",
        "refresh_token",
        "refresh_token_expiration",
        "user_id",
        "email",
        "first_name",
        "last_name",
    } == session.json.keys()
    assert [("Ada Byron", "editor")] == [(each["name"], each["role"]) for each in organizations.json]
    assert [
        {
            "user_id": made.json["user_id"],
            "email": email,
            "first_name": "Ada",
            "last_name": "Byron",
            "role": "editor",
        }
    ] == shown.json["users"]
    assert 1 == shown.json["consumption"]["members"]
    assert 204 == ended.status
    assert (403, "AuthInvalidBiscuit") == (await stack.api.call("GET", "/organizations", token=access)).problem
    assert (401, "AuthFailedRefresh") == (
        await stack.api.call("POST", "/auth/refresh", token=session.json["refresh_token"])
    ).problem


async def test_a_session_is_renewed(stack: Stack) -> None:
    """A refresh token is used up by what it renews; the access token before stays valid until it expires."""
    person = await make_person(stack.api)
    renewed = await stack.apis[1].call("POST", "/auth/refresh", token=person.refresh)
    again = await stack.api.call("POST", "/auth/refresh", token=person.refresh)

    assert 201 == renewed.status
    assert (401, "AuthFailedRefresh") == again.problem
    for access in (person.access, renewed.json["access_token"]):
        assert 200 == (await stack.api.call("GET", "/organizations", token=access)).status
    assert (401, "AuthFailedRefresh") == (await stack.api.call("POST", "/auth/refresh", token=person.access)).problem


async def test_a_refresh_token_used_again_later_ends_the_session(stack: Stack) -> None:
    """Two hold it then, and one of them stole it."""
    person = await make_person(stack.api)
    renewed = await stack.api.call("POST", "/auth/refresh", token=person.refresh)
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(
            "update sessions set refreshed_at = refreshed_at - %s * interval '1 s' where user_id = %s",
            (REUSE_GRACE_S + 1, person.user_id),
        )
    stolen = await stack.api.call("POST", "/auth/refresh", token=person.refresh)

    assert (401, "AuthFailedRefresh") == stolen.problem
    assert (401, "AuthFailedRefresh") == (
        await stack.api.call("POST", "/auth/refresh", token=renewed.json["refresh_token"])
    ).problem


async def test_what_ends_is_refused_at_every_gateway(stack: Stack) -> None:
    """Logged out at one, or removed: the other refuses the token within a second."""
    first, second = await make_person(stack.api), await make_person(stack.api)
    for person in (first, second):
        assert 200 == (await stack.apis[1].call("GET", "/organizations", token=person.access)).status
    await stack.api.call("POST", "/auth/logout", token=first.access)
    removed = await stack.api.call("DELETE", f"/users/{second.user_id}", token=second.access)

    assert 204 == removed.status
    for person in (first, second):

        async def ask(access: str = person.access) -> tuple[int, str]:
            return (await stack.apis[1].call("GET", "/organizations", token=access)).problem

        assert (403, "AuthInvalidBiscuit") == await eventually(ask)


async def test_a_password_is_changed(stack: Stack) -> None:
    """Other sessions end, this one goes on; the old password is none any more."""
    person = await make_person(stack.api)
    other = await stack.api.call("POST", "/auth/login", {"email": person.email, "password": PASSWORD})
    changed = await stack.api.call("POST", "/auth/password", {"new_password": NEW_PASSWORD}, token=person.access)

    assert 204 == changed.status, changed.text
    assert (401, "AuthFailedLogin") == await log_in(stack.api, person.email)
    assert (201, "") == await log_in(stack.api, person.email, NEW_PASSWORD)
    assert 200 == (await stack.api.call("GET", "/organizations", token=person.access)).status
    assert (401, "AuthFailedRefresh") == (
        await stack.api.call("POST", "/auth/refresh", token=other.json["refresh_token"])
    ).problem


async def test_a_password_is_reset_by_e_mail(stack: Stack, mailbox: Mailbox) -> None:
    """The link works once; all sessions end. An unknown address is answered alike and gets nothing."""
    person, unknown = await make_person(stack.api), new_email()
    replies = [
        await stack.api.call("POST", "/auth/begin-reset-password", {"email": email}, headers=PUBLIC)
        for email in (unknown, person.email.upper())
    ]
    (token,) = await eventually(lambda: mailbox.tokens(person.email))
    body = {"token": token, "new_password": NEW_PASSWORD}
    weak = await stack.api.call("POST", "/auth/reset-password", body | {"new_password": "short"}, headers=PUBLIC)
    done = await stack.api.call("POST", "/auth/reset-password", body, headers=PUBLIC)
    again = await stack.api.call("POST", "/auth/reset-password", body, headers=PUBLIC)

    assert [204, 204] == [reply.status for reply in replies]
    assert [] == mailbox.to(unknown)
    assert (400, "PasswordTooShort") == weak.problem
    assert 204 == done.status
    assert (401, "AuthEmailExpired") == again.problem
    assert (201, "") == await log_in(stack.api, person.email, NEW_PASSWORD)
    assert (401, "AuthFailedRefresh") == (await stack.api.call("POST", "/auth/refresh", token=person.refresh)).problem


async def test_another_verification_link(stack: Stack, mailbox: Mailbox) -> None:
    """An unverified user gets another link; for all others nothing comes, and the answer is the same."""
    waiting, verified, unknown = new_email(), (await make_person(stack.api)).email, new_email()
    await stack.api.call("POST", "/register", describe_person(waiting), headers=PUBLIC)
    for email in (verified, unknown, waiting):
        reply = await stack.api.call("POST", "/auth/resend-verification-email", {"email": email}, headers=PUBLIC)

        assert 204 == reply.status
    await eventually(lambda: len(mailbox.tokens(waiting)) == 2)
    assert [] == mailbox.to(verified) == mailbox.to(unknown)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"password": "elf Zeichen"}, (400, "PasswordTooShort")),
        ({"password": PASSWORD + "x" * 100}, (400, "PasswordTooLong")),
        ({"password": "abababababababab"}, (400, "PasswordNotDiverseEnough")),
        ({"email": "konstantin@example.org", "password": "konstantin1234567"}, (400, "PasswordSimilarToEmail")),
        ({"first_name": "Konstantin", "password": "konstantin1234567"}, (400, "PasswordSimilarToName")),
        ({"password": "password1234"}, (400, "PasswordTooCommon")),
        ({"email": "no address"}, (422, "Validation")),
        ({"email": "a@b.c\r\nBcc: d@e.f"}, (422, "Validation")),
        ({"first_name": ""}, (422, "Validation")),
        ({"last_name": "n" * 51}, (422, "Validation")),
        ({"password": None}, (400, "JsonPayload")),
        ({"password": PASSWORD + "\t"}, (422, "Validation")),
    ],
)
async def test_refused_registrations(stack: Stack, members: dict[str, str], expected: tuple[int, str]) -> None:
    """Each rule has its problem."""
    reply = await stack.api.call("POST", "/register", describe_person(new_email()) | members, headers=PUBLIC)

    assert expected == reply.problem


async def test_one_user_for_an_address(stack: Stack) -> None:
    """One address has one user, whatever its case, and when two register at the same moment."""
    email = new_email()
    replies = await asyncio.gather(
        *(stack.apis[n].call("POST", "/register", describe_person(e)) for n, e in enumerate((email, email.upper())))
    )

    assert [201, 409] == sorted(reply.status for reply in replies)
    assert (409, "UserAlreadyExist") == next(reply for reply in replies if reply.status == 409).problem


async def test_guessing_is_bounded(stack: Stack) -> None:
    """An unknown address is answered as a known one: the same answers, then 429 with a time to wait."""
    for email in ((await make_person(stack.api)).email, new_email()):
        replies = [
            await stack.apis[1].call("POST", "/auth/login", {"email": email, "password": "wrong"}, headers=PUBLIC)
            for _ in range(6)
        ]

        assert [(401, "AuthFailedLogin")] * 5 == [reply.problem for reply in replies[:5]]
        assert (429, "RateLimited") == replies[5].problem
        assert 0 < int(replies[5].headers["Retry-After"])


async def test_users_are_listed_with_the_master_key_only(stack: Stack) -> None:
    """A user sees and removes only themselves."""
    person, other = await make_person(stack.api), await make_person(stack.api)
    found = await stack.api.call("GET", f"/users?email={person.email}")
    own = await stack.api.call("GET", f"/users/{person.user_id}", token=person.access)

    assert [person.user_id] == [user["user_id"] for user in found.json]
    assert person.email == own.json["email"]
    for method, path in (("GET", "/users"), ("GET", f"/users/{other.user_id}"), ("DELETE", f"/users/{other.user_id}")):
        assert (403, "Forbidden") == (await stack.api.call(method, path, token=person.access)).problem


async def test_nothing_secret_is_logged(stack: Stack, mailbox: Mailbox) -> None:
    """Neither passwords nor tokens are in the log, nor in the database in clear."""
    email = new_email()
    await stack.api.call("POST", "/register", describe_person(email), headers=PUBLIC)
    (token,) = await eventually(lambda: mailbox.tokens(email))
    session = await stack.api.call("POST", "/auth/verify-email", {"token": token}, headers=PUBLIC)
    await stack.api.call("POST", "/auth/login", {"email": email, "password": "wrong but secret"}, headers=PUBLIC)
    secrets = (token, session.json["access_token"], session.json["refresh_token"], PASSWORD, "wrong but secret")
    with psycopg.connect(stack.database_url) as connection:
        tables = ("users", "sessions", "access_tokens", "mail_tokens")
        rows = [row for name in tables for row in connection.execute(f"select t::text from {name} t").fetchall()]  # noqa: S608 - ours

    assert 3 < len(rows)
    for secret in secrets:
        assert not any(secret in process.log() for process in stack.processes["gateway"])
        assert not any(secret in row[0] for row in rows)


async def test_without_an_openid_provider_there_is_no_such_login(stack: Stack) -> None:
    """The paths answer as paths that do not exist."""
    for path in ("/auth/oidc/login", "/auth/oidc/callback"):
        assert (404, "NotFound") == (await stack.api.call("GET", path)).problem
