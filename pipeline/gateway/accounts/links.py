"""Texts of e-mails, and the links in them."""

from datetime import timedelta
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from pipeline.gateway.accounts.forms import TOKEN_MAX_CHARS, EmailForm, check_email
from pipeline.gateway.accounts.mail import Mail
from pipeline.gateway.bodies import read_form
from pipeline.gateway.client_address import find_client_address
from pipeline.gateway.context import GATEWAY, Gateway
from pipeline.gateway.problems import Problem
from pipeline.gateway.tokens import hash_token, make_token
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.acting import act_as
from pipeline.postgres.control.users import (
    Purpose,
    User,
    find_user,
    find_user_by_email,
    find_user_of_mail_token,
    save_mail_token,
)

LINKS_MAX = 5  # of one kind that are valid at the same time
PREFIX = "hookline_mt_"
SUBJECTS: dict[Purpose, str] = {
    "verify": "Verify your e-mail address",
    "reset": "Set a new password",
}
PAGES: dict[Purpose, str] = {"verify": "verify-email", "reset": "reset-password"}
REASONS: dict[Purpose, str] = {
    "verify": "This address was given for a new user of Hookline. If it was you, confirm it:",
    "reset": "A new password of your user of Hookline was requested. If it was you, set one:",
}


async def send_link(gateway: Gateway, user: User, purpose: Purpose) -> None:
    """An e-mail with a link that is valid once. Without a mail server: none."""
    accounts, config = gateway.accounts, gateway.accounts.config
    if not accounts.mailer.is_on:
        return
    token = make_token(PREFIX)
    ttl_s = config.verify_ttl_s if purpose == "verify" else config.reset_ttl_s
    expires_at = gateway.clock.now() + timedelta(seconds=ttl_s)
    await save_mail_token(gateway.pool, user.user_id, hash_token(token), purpose, expires_at, most=LINKS_MAX)
    place = f"{config.app_url.rstrip('/')}/{PAGES[purpose]}?{urlencode({'token': token})}" if config.app_url else token
    text = (
        f"Hello {user.first_name},\n\n{REASONS[purpose]}\n\n{place}\n\n"
        f"Valid until {expires_at:%Y-%m-%d %H:%M} UTC. If it was not you, there is nothing to do.\n"
    )
    accounts.mailer.send(Mail(kind=purpose, to=user.email, subject=SUBJECTS[purpose], text=text))


async def find_named_user(request: web.Request, decoder: "msgspec.json.Decoder[EmailForm]") -> User | None:
    """The user whose address the body of a request for a link names. Raises `Problem`."""
    gateway = request.app[GATEWAY]
    form = await read_form(request, decoder)
    findings = Findings()
    check_email(findings, form.email)
    findings.raise_if_any()
    gateway.accounts.count_attempt(find_client_address(request), form.email)
    return await find_user_by_email(gateway.pool, form.email)


async def follow_link(request: web.Request, token: str, purpose: Purpose) -> User:
    """The user of a link: the request acts as this user from here on. Raises `Problem` when the link has expired."""
    gateway = request.app[GATEWAY]
    findings = Findings()
    findings.check_text("token", token, most=TOKEN_MAX_CHARS)
    findings.raise_if_any()
    gateway.accounts.count_attempt(find_client_address(request))
    user_id = await find_user_of_mail_token(gateway.pool, hash_token(token), purpose)
    user = await find_user(gateway.pool, user_id) if user_id is not None else None
    if user is None:
        raise Problem("AuthEmailExpired")
    act_as("user", user.user_id, find_client_address(request))
    return user
