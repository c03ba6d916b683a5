"""`/auth/oidc/login` and `/auth/oidc/callback`: logging in at an OpenID provider. Additions of ours."""

import hmac
import secrets
from datetime import timedelta

from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.units import SECOND_US
from pipeline.gateway.accounts.forms import EMAIL, EMAIL_MAX_CHARS, NAME_MAX_CHARS, TOKEN_MAX_CHARS
from pipeline.gateway.accounts.oidc_provider import Identity, Provider, ProviderError, refuse
from pipeline.gateway.accounts.registration import ORGANIZATION_MAX_CHARS
from pipeline.gateway.accounts.sessions import SessionShown, answer_new_session
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import declare_text, take
from pipeline.gateway.tokens import hash_token
from pipeline.postgres.control.acting import act_as
from pipeline.postgres.control.oidc_logins import BegunLogin, find_user_of_provider, link_user, save_login, take_login
from pipeline.postgres.control.users import FirstOrganization, User, UserExistsError, create_user

LOGIN_TTL_S = 600
COOKIE = "hookline_oidc"
CODE_MAX_CHARS = 4096


STATE = declare_text("state", "Which login this is, as the provider sends it back.")
CODE = declare_text("code", "What the provider knows the user by, for a moment.")
PROVIDER_PROBLEMS = ("NotFound", "AuthFailedLogin")


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/auth/oidc/login", begin, status=302, problems=PROVIDER_PROBLEMS, is_public=True),
        Operation(
            "GET",
            "/auth/oidc/callback",
            finish,
            query=(STATE, CODE),
            status=201,
            answer=SessionShown,
            problems=(*PROVIDER_PROBLEMS, "AuthEmailNotVerified", "RegistrationDisabled", "UserAlreadyExist"),
            is_public=True,
        ),
    ]


async def begin(request: web.Request) -> web.Response:
    """Send a browser to the provider. A cookie ties the answer to this browser."""
    gateway = request.app[GATEWAY]
    provider = _find_provider(gateway)
    gateway.accounts.count_attempt(find_client_address(request))
    state, login = (
        secrets.token_urlsafe(32),
        BegunLogin(nonce=secrets.token_urlsafe(32), code_verifier=secrets.token_urlsafe(48)),
    )
    try:
        url = await provider.make_url(state=state, nonce=login.nonce, code_verifier=login.code_verifier)
    except ProviderError as error:
        raise refuse(error) from error
    await save_login(gateway.pool, hash_token(state), login, gateway.clock.now() + timedelta(seconds=LOGIN_TTL_S))
    response = web.Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})
    is_secure = (gateway.settings.gateway.public_url or "").startswith("https://")
    response.set_cookie(
        COOKIE, state, max_age=LOGIN_TTL_S, httponly=True, secure=is_secure, samesite="Lax", path="/api/v1/auth/oidc"
    )
    return response


async def finish(request: web.Request) -> web.Response:
    """The page to which the provider sends the browser back: a session, answered as a login is."""
    gateway = request.app[GATEWAY]
    provider = _find_provider(gateway)
    gateway.accounts.count_attempt(find_client_address(request))
    state, code = take(request, "state") or "", take(request, "code") or ""
    cookie = request.cookies.get(COOKIE, "")
    is_text = state.isascii() and cookie.isascii()
    is_ours = is_text and 0 < len(state) <= TOKEN_MAX_CHARS and hmac.compare_digest(state, cookie)
    login = await take_login(gateway.pool, hash_token(state)) if is_ours else None
    if login is None:
        raise Problem("AuthFailedLogin", detail="This login was not begun here, or too long ago. Begin again.")
    if not (code.isascii() and 0 < len(code) <= CODE_MAX_CHARS):
        raise Problem("AuthFailedLogin", detail="The OpenID provider did not let you in.")
    try:
        now_s = gateway.clock.now_us() // SECOND_US
        identity = await provider.identify(code, nonce=login.nonce, code_verifier=login.code_verifier, now_s=now_s)
    except ProviderError as error:
        raise refuse(error) from error
    response = await answer_new_session(request, await _find_user(request, identity))
    response.del_cookie(COOKIE, path="/api/v1/auth/oidc")
    return response


def _find_provider(gateway: Gateway) -> Provider:
    provider = gateway.accounts.provider
    if provider is None:
        raise Problem("NotFound", detail="There is no OpenID provider here.")
    return provider


async def _find_user(request: web.Request, identity: Identity) -> User:
    """The user of this identity: known, or with the same verified address, or new where that is allowed."""
    gateway = request.app[GATEWAY]
    known = await find_user_of_provider(gateway.pool, identity.issuer, identity.subject)
    if known is not None:
        return known
    email = identity.email
    if email is None or len(email) > EMAIL_MAX_CHARS or not EMAIL.fullmatch(email):
        raise Problem("AuthEmailNotVerified", detail="The OpenID provider has not verified your e-mail address.")
    act_as("anonymous", None, find_client_address(request))
    linked = await link_user(gateway.pool, email, identity.issuer, identity.subject)
    if linked is not None:
        return linked
    if not gateway.accounts.config.oidc_registration:
        raise Problem("RegistrationDisabled")
    now = gateway.clock.now()
    first_name = identity.first_name[:NAME_MAX_CHARS] or email.partition("@")[0][:NAME_MAX_CHARS]
    user = User(
        user_id=str(uuid7()),
        email=email,
        first_name=first_name,
        last_name=identity.last_name[:NAME_MAX_CHARS] or "-",
        password_hash=None,
        email_verified_at=now,
        created_at=now,
    )
    name = f"{first_name} {identity.last_name}".strip()[:ORGANIZATION_MAX_CHARS].strip()
    organization = FirstOrganization(organization_id=str(uuid7()), name=name)
    try:
        await create_user(gateway.pool, user, organization, oidc=(identity.issuer, identity.subject))
    except UserExistsError:
        # of another identity, or of an address that was never verified
        raise Problem("UserAlreadyExist") from None
    return user
