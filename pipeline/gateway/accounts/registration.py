"""`/register`, `/auth/verify-email`, `/auth/resend-verification-email`: a new user, whose address is verified."""

import asyncio
from typing import TypedDict, get_args

from aiohttp import web
from uuid_utils import uuid7

from pipeline.core.signing.passwords import PasswordProblem, find_password_problem
from pipeline.gateway.accounts.accounts import Accounts
from pipeline.gateway.accounts.forms import (
    EmailForm,
    LinkForm,
    RegistrationForm,
    check_email,
    check_names,
    check_new_password,
    email_decoder,
    registration_decoder,
    token_decoder,
)
from pipeline.gateway.accounts.links import find_named_user, follow_link, send_link
from pipeline.gateway.accounts.sessions import SessionShown, answer_new_session
from pipeline.gateway.answers import Id, answer_json, answer_nothing
from pipeline.gateway.auth import authorize
from pipeline.gateway.bodies import read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.acting import act_as
from pipeline.postgres.control.users import (
    FirstOrganization,
    User,
    UserExistsError,
    create_user,
    verify_email,
)

ORGANIZATION_MAX_CHARS = 50
PASSWORD_PROBLEMS: tuple[str, ...] = get_args(PasswordProblem)


class RegistrationShown(TypedDict):
    """A new user, and the organization of which it is the editor."""

    organization_id: Id
    user_id: Id


def list_routes() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/register",
            register,
            body=RegistrationForm,
            status=201,
            answer=RegistrationShown,
            problems=(
                *PASSWORD_PROBLEMS,
                "RegistrationDisabled",
                "UserAlreadyExist",
                "AuthInvalidAuthorizationHeader",
                "AuthInvalidBiscuit",
            ),
            is_public=True,
        ),
        Operation(
            "POST",
            "/auth/verify-email",
            verify,
            body=LinkForm,
            status=201,
            answer=SessionShown,
            problems=("AuthEmailExpired", "AuthEmailAlreadyVerified"),
            is_public=True,
        ),
        Operation("POST", "/auth/resend-verification-email", resend, body=EmailForm, status=204, is_public=True),
    ]


async def register(request: web.Request) -> web.Response:
    """A new user with a new organization. With the master key also where registration is off; then the address
    counts as verified.
    """
    gateway = request.app[GATEWAY]
    accounts = gateway.accounts
    is_by_master = "Authorization" in request.headers and (await authorize(request)).is_master
    form = await read_form(request, registration_decoder)
    if not accounts.config.registration and not is_by_master:
        raise Problem("RegistrationDisabled")
    if not is_by_master:
        accounts.count_attempt(find_client_address(request))
        act_as("anonymous", None, find_client_address(request))
    findings = Findings()
    check_names(findings, form)
    check_email(findings, form.email)
    check_new_password(findings, "password", form.password)
    findings.raise_if_any()
    await require_good_password(accounts, form.password, email=form.email, names=(form.first_name, form.last_name))
    now = request.app[GATEWAY].clock.now()
    user = User(
        user_id=str(uuid7()),
        email=form.email,
        first_name=form.first_name,
        last_name=form.last_name,
        password_hash=await accounts.passwords.hash(form.password),
        email_verified_at=now if is_by_master else None,
        created_at=now,
    )
    organization = FirstOrganization(organization_id=str(uuid7()), name=name_organization(form))
    try:
        await create_user(gateway.pool, user, organization)
    except UserExistsError:
        raise Problem("UserAlreadyExist") from None
    if not is_by_master:
        await send_link(gateway, user, "verify")
    made: RegistrationShown = {"organization_id": organization.organization_id, "user_id": user.user_id}
    return answer_json(made, status=201)


async def verify(request: web.Request) -> web.Response:
    """The address is theirs, as the link shows that was sent to it; and a session. A link does this once."""
    gateway = request.app[GATEWAY]
    form = await read_form(request, token_decoder)
    user = await follow_link(request, form.token, "verify")
    if not await verify_email(gateway.pool, user.user_id):
        raise Problem("AuthEmailAlreadyVerified")
    return await answer_new_session(request, user)


async def resend(request: web.Request) -> web.Response:
    """Send another link, if there is such a user who needs one; the answer is the same if not."""
    user = await find_named_user(request, email_decoder)
    if user is not None and user.email_verified_at is None:
        await send_link(request.app[GATEWAY], user, "verify")
    return answer_nothing()


async def require_good_password(accounts: Accounts, password: str, *, email: str, names: tuple[str, ...]) -> None:
    """Check a new password. Raises `Problem` if it is refused."""
    least = accounts.config.password_min_chars
    problem = await asyncio.to_thread(find_password_problem, password, min_chars=least, email=email, names=names)
    if problem is not None:
        detail = f"A password must have at least {least} characters." if problem == "PasswordTooShort" else None
        raise Problem(problem, detail=detail)


def name_organization(form: RegistrationForm) -> str:
    """The name of a new user's own organization."""
    return f"{form.first_name} {form.last_name}"[:ORGANIZATION_MAX_CHARS].strip()
