"""What e-mails say, and the links in them."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from pipeline.gateway.accounts.mail import Mail
from pipeline.gateway.context import Gateway
from pipeline.gateway.tokens import hash_token, make_token
from pipeline.postgres.users import Purpose, User, save_mail_token

LINKS_MAX = 5  # of one kind that are valid at the same time
PREFIX = "hookline_mt_"
SUBJECTS: dict[Purpose, str] = {
    "verify": "Verify your e-mail address",
    "reset": "Set a new password",
}
PAGES: dict[Purpose, str] = {"verify": "verify-email", "reset": "reset-password"}
REASONS: dict[Purpose, str] = {
    "verify": "This address was given for a new user of Hookline. If it was you, confirm it:",
    "reset": "Somebody asked for a new password of your user of Hookline. If it was you, set one:",
}


async def send_link(gateway: Gateway, user: User, purpose: Purpose) -> None:
    """An e-mail with a link that is valid once. Without a mail server: none."""
    accounts, config = gateway.accounts, gateway.accounts.config
    if not accounts.mailer.is_on:
        return
    token = make_token(PREFIX)
    ttl_s = config.verify_ttl_s if purpose == "verify" else config.reset_ttl_s
    expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
    await save_mail_token(gateway.pool, user.user_id, hash_token(token), purpose, expires_at, most=LINKS_MAX)
    place = f"{config.app_url.rstrip('/')}/{PAGES[purpose]}?{urlencode({'token': token})}" if config.app_url else token
    text = (
        f"Hello {user.first_name},\n\n{REASONS[purpose]}\n\n{place}\n\n"
        f"Valid until {expires_at:%Y-%m-%d %H:%M} UTC. If it was not you, there is nothing to do.\n"
    )
    accounts.mailer.send(Mail(kind=purpose, to=user.email, subject=SUBJECTS[purpose], text=text))
