"""Bodies of the operations on users, and the rules of their fields."""

import re

import msgspec

from pipeline.gateway.bodies import Form
from pipeline.gateway.validation import Findings

EMAIL_MAX_CHARS, NAME_MAX_CHARS, TOKEN_MAX_CHARS = 100, 50, 1000
PASSWORD_SENT_MAX_CHARS = 100
NEW_PASSWORD_MAX_CHARS = 10_000  # beyond 100 it is `PasswordTooLong`
# what mail servers take without extensions: dot-atoms of ASCII, and a domain with a dot
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = re.compile(rf"{ATOM}(?:\.{ATOM})*@{LABEL}(?:\.{LABEL})+")


class LoginForm(Form, frozen=True):
    """The body of a login."""

    email: str
    password: str


class RegistrationForm(Form, frozen=True):
    """The body of a registration. `turnstile_token` of Hook0's form is not looked at."""

    first_name: str
    last_name: str
    email: str
    password: str


class EmailForm(Form, frozen=True):
    """The body that asks for an e-mail."""

    email: str


class LinkForm(Form, frozen=True):
    """The body with what a link carried."""

    token: str


class ResetForm(Form, frozen=True):
    """The body that sets a password by a link."""

    token: str
    new_password: str


class PasswordForm(Form, frozen=True):
    """The body that sets the caller's password."""

    new_password: str


login_decoder = msgspec.json.Decoder(LoginForm)
registration_decoder = msgspec.json.Decoder(RegistrationForm)
email_decoder = msgspec.json.Decoder(EmailForm)
token_decoder = msgspec.json.Decoder(LinkForm)
reset_decoder = msgspec.json.Decoder(ResetForm)
password_decoder = msgspec.json.Decoder(PasswordForm)


def check_email(findings: Findings, email: str) -> None:
    """An address that an e-mail can be sent to."""
    findings.check_text("email", email, most=EMAIL_MAX_CHARS)
    if not EMAIL.fullmatch(email):
        findings.add("email", "email", "it must be an e-mail address")


def check_new_password(findings: Findings, field: str, password: str) -> None:
    """Refuse a password that a login would refuse as well. Its length and strength have their own problem ids."""
    findings.check_text(field, password, least=0, most=NEW_PASSWORD_MAX_CHARS)


def check_names(findings: Findings, form: RegistrationForm) -> None:
    for name in ("first_name", "last_name"):
        findings.check_text(name, getattr(form, name), most=NAME_MAX_CHARS)
