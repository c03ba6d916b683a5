"""E-mails, handed over to an SMTP server in the background, so that response times do not reveal whether a user exists.

One that cannot be handed over is tried again a few times, then given up: its reader asks for another.
"""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage

import structlog

from pipeline.config import AccountsConfig
from pipeline.core.network.smtp_url import SmtpServer, parse_smtp_url
from pipeline.metrics import Metrics

WAITING_MAX = 1000
TRIES = 3
AGAIN_AFTER_S = 2.0
SENT, FAILED, DROPPED = "sent", "failed", "dropped"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One e-mail in plain text. `kind`: for log and figures, in which nothing else of it shows."""

    kind: str
    to: str
    subject: str
    text: str


class Mailer:
    """Sends e-mails in the background while `run` runs. `is_on`: is a mail server configured?"""

    def __init__(self, config: AccountsConfig, metrics: Metrics) -> None:
        self._server = parse_smtp_url(config.smtp_url.get_secret_value()) if config.smtp_url is not None else None
        self._sender = config.mail_from
        self._timeout_s = config.smtp_timeout_s
        self._metrics = metrics
        for result in (SENT, FAILED, DROPPED):
            metrics.mails_total.labels(result)  # born as 0, so that the first one is an increase
        self._waiting: asyncio.Queue[Mail] = asyncio.Queue(WAITING_MAX)

    @property
    def is_on(self) -> bool:
        return self._server is not None

    def send(self, mail: Mail) -> None:
        """Hand a mail over soon. One too many is dropped."""
        try:
            self._waiting.put_nowait(mail)
        except asyncio.QueueFull:
            self._metrics.mails_total.labels(DROPPED).inc()
            log.error("mail_dropped", kind=mail.kind)

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            mail = await self._waiting.get()
            if self._server is not None:
                await self._hand_over(self._server, mail)

    async def _hand_over(self, server: SmtpServer, mail: Mail) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                await asyncio.to_thread(hand_over, server, self._sender, mail, self._timeout_s)
            except (smtplib.SMTPException, OSError, ValueError) as error:
                # a server's answer may quote the address; its code and our word for it do not
                code = getattr(error, "smtp_code", None)
                log.warning("mail_failed", kind=mail.kind, error=type(error).__name__, code=code, tries_left=tries_left)
                self._metrics.mails_total.labels(FAILED).inc()
                if tries_left:
                    await asyncio.sleep(AGAIN_AFTER_S)
            else:
                self._metrics.mails_total.labels(SENT).inc()
                return


def hand_over(server: SmtpServer, sender: str, mail: Mail, timeout_s: float) -> None:
    """Blocks. Raises `smtplib.SMTPException`, `OSError`, or `ValueError` for a header that cannot be one."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, mail.to, mail.subject
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(server.host, server.port, timeout=timeout_s, context=context)
        if server.security == "tls"
        else smtplib.SMTP(server.host, server.port, timeout=timeout_s)
    ) as connection:
        if server.security == "starttls":
            connection.starttls(context=context)
        if server.username is not None:
            connection.login(server.username, server.password or "")
        connection.send_message(message)
