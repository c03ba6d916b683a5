"""`/auth/password`, `/auth/begin-reset-password`, `/auth/reset-password`: another password."""

from aiohttp import web

from pipeline.gateway.accounts.forms import (
    EmailForm,
    PasswordForm,
    ResetForm,
    check_new_password,
    email_decoder,
    password_decoder,
    reset_decoder,
)
from pipeline.gateway.accounts.links import find_named_user, follow_link, send_link
from pipeline.gateway.accounts.registration import PASSWORD_PROBLEMS, require_good_password
from pipeline.gateway.answers import answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import read_form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.sessions import find_session_id
from pipeline.postgres.control.users import (
    User,
    find_user,
    set_password,
    verify_email,
)


def list_routes() -> list[Operation]:
    return [
        Operation("POST", "/auth/password", change, body=PasswordForm, status=204, problems=PASSWORD_PROBLEMS),
        Operation("POST", "/auth/begin-reset-password", begin_reset, body=EmailForm, status=204, is_public=True),
        Operation(
            "POST",
            "/auth/reset-password",
            reset,
            body=ResetForm,
            status=204,
            problems=("AuthEmailExpired", "Forbidden", *PASSWORD_PROBLEMS),
            is_public=True,
        ),
    ]


async def change(request: web.Request) -> web.Response:
    """Set another password for the caller. All their other sessions end."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    form = await read_form(request, password_decoder)
    user_id, token_hash = caller.grant.user_id, caller.grant.token_hash
    if user_id is None or token_hash is None:
        raise Problem("Forbidden")
    user = await find_user(gateway.pool, user_id)
    if user is None:
        raise Problem("Forbidden")
    kept = await find_session_id(gateway.pool, token_hash)
    await _set(request, user, form.new_password, kept_session_id=kept)
    return answer_nothing()


async def begin_reset(request: web.Request) -> web.Response:
    """An e-mail with a link, if there is such a user; answered alike if not."""
    user = await find_named_user(request, email_decoder)
    if user is not None:
        await send_link(request.app[GATEWAY], user, "reset")
    return answer_nothing()


async def reset(request: web.Request) -> web.Response:
    """Set another password by a link. All sessions end; the address counts as verified, as the link came to it."""
    gateway = request.app[GATEWAY]
    form = await read_form(request, reset_decoder)
    user = await follow_link(request, form.token, "reset")
    await _set(request, user, form.new_password)
    await verify_email(gateway.pool, user.user_id)
    return answer_nothing()


async def _set(request: web.Request, user: User, password: str, *, kept_session_id: str | None = None) -> None:
    gateway = request.app[GATEWAY]
    findings = Findings()
    check_new_password(findings, "new_password", password)
    findings.raise_if_any()
    names = (user.first_name, user.last_name)
    await require_good_password(gateway.accounts, password, email=user.email, names=names)
    password_hash = await gateway.accounts.passwords.hash(password)
    if not await set_password(gateway.pool, user.user_id, password_hash, kept_session_id=kept_session_id):
        raise Problem("Forbidden")
