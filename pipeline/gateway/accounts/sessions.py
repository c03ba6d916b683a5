"""`/auth/login`, `/auth/refresh`, `/auth/logout`: from a password to tokens, and back."""

from datetime import timedelta
from typing import TypedDict

from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.events.moments import show_datetime
from pipeline.gateway.accounts.forms import EMAIL_MAX_CHARS, PASSWORD_SENT_MAX_CHARS, LoginForm, login_decoder
from pipeline.gateway.answers import Id, Time, answer_json, answer_nothing
from pipeline.gateway.auth import authorize, read_token
from pipeline.gateway.bodies import read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import ACCESS_PREFIX, REFRESH_PREFIX, hash_token, make_token
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.sessions import SessionTokens, create_session, end_session, renew_session
from pipeline.postgres.control.users import User, find_user, find_user_by_email, replace_password_hash


class SessionShown(TypedDict):
    """A session's tokens, and whose they are."""

    access_token: str
    access_token_expiration: Time
    refresh_token: str
    refresh_token_expiration: Time
    user_id: Id
    email: str
    first_name: str
    last_name: str


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/auth/login",
            log_in,
            body=LoginForm,
            status=201,
            answer=SessionShown,
            problems=("AuthFailedLogin", "AuthEmailNotVerified"),
            is_public=True,
        ),
        Operation("POST", "/auth/refresh", refresh, status=201, answer=SessionShown, problems=("AuthFailedRefresh",)),
        Operation("POST", "/auth/logout", log_out, status=204),
    ]


async def log_in(request: web.Request) -> web.Response:
    """A session for e-mail address and password. An unknown address costs as much time as a wrong password."""
    gateway = request.app[GATEWAY]
    accounts = gateway.accounts
    form = await read_form(request, login_decoder)
    findings = Findings()
    findings.check_text("email", form.email, most=EMAIL_MAX_CHARS)
    findings.check_text("password", form.password, most=PASSWORD_SENT_MAX_CHARS)
    findings.raise_if_any()
    accounts.count_attempt(find_client_address(request), form.email)
    user = await find_user_by_email(gateway.pool, form.email)
    password_hash = user.password_hash if user is not None else None
    is_right = await accounts.passwords.check(password_hash, form.password)
    if user is None or password_hash is None or not is_right:
        raise Problem("AuthFailedLogin")
    if user.email_verified_at is None:
        raise Problem("AuthEmailNotVerified")
    if accounts.passwords.is_outdated(password_hash):
        renewed = await accounts.passwords.hash(form.password)
        await replace_password_hash(gateway.pool, user.user_id, password_hash, renewed)
    return await answer_new_session(request, user)


async def refresh(request: web.Request) -> web.Response:
    """New tokens for a refresh token, which is used up by it."""
    gateway = request.app[GATEWAY]
    token = read_token(request)
    gateway.accounts.count_attempt(find_client_address(request))
    if not token.startswith(REFRESH_PREFIX):
        raise Problem("AuthFailedRefresh")
    access, renewal, tokens = _make_tokens(request)
    user_id = await renew_session(gateway.pool, hash_token(token), tokens)
    user = await find_user(gateway.pool, user_id) if user_id is not None else None
    if user is None:
        raise Problem("AuthFailedRefresh")
    return _answer(user, access, renewal, tokens)


async def log_out(request: web.Request) -> web.Response:
    """End the session: its tokens are refused here from now on, and within a second at every other gateway."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    token_hash = caller.grant.token_hash
    if caller.grant.user_id is None or token_hash is None:
        raise Problem("Forbidden")
    await end_session(gateway.pool, token_hash)
    gateway.tokens.sessions.forget(token_hash)
    return answer_nothing()


async def answer_new_session(request: web.Request, user: User) -> web.Response:
    """A new session of this user, who has shown who they are."""
    access, renewal, tokens = _make_tokens(request)
    await create_session(request.app[GATEWAY].pool, str(uuid7()), user.user_id, tokens)
    return _answer(user, access, renewal, tokens)


def _make_tokens(request: web.Request) -> tuple[str, str, SessionTokens]:
    gateway = request.app[GATEWAY]
    config, now = gateway.accounts.config, gateway.clock.now()
    access, renewal = make_token(ACCESS_PREFIX), make_token(REFRESH_PREFIX)
    return (
        access,
        renewal,
        SessionTokens(
            access_hash=hash_token(access),
            access_expires_at=now + timedelta(seconds=config.access_ttl_s),
            refresh_hash=hash_token(renewal),
            refresh_expires_at=now + timedelta(seconds=config.refresh_ttl_s),
        ),
    )


def _answer(user: User, access: str, renewal: str, tokens: SessionTokens) -> web.Response:
    shown: SessionShown = {
        "access_token": access,
        "access_token_expiration": show_datetime(tokens.access_expires_at),
        "refresh_token": renewal,
        "refresh_token_expiration": show_datetime(tokens.refresh_expires_at),
        "user_id": user.user_id,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
    }
    response = answer_json(shown, status=201)
    response.headers["Cache-Control"] = "no-store"
    return response
