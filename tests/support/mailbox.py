"""A mail server for tests: a real one, on loopback, that keeps what it takes."""

import asyncio
import re
from email import message_from_bytes
from email.message import Message

from aiosmtpd.smtp import SMTP, Envelope, Session

TOKEN = re.compile(r"hookline_mt_[\w-]+")


class Mailbox:
    """An async context manager. `mails`: what came, in order."""

    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def __aenter__(self) -> "Mailbox":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, hostname="mail.test", loop=loop), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"smtp+plain://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content))
        return "250 OK"

    def to(self, email: str) -> list[str]:
        """The texts of what came to an address."""
        return [
            payload.decode()
            for mail in self.mails
            if mail["To"] == email and isinstance(payload := mail.get_payload(decode=True), bytes)
        ]

    def tokens(self, email: str) -> list[str]:
        """Tokens in the links that came to an address."""
        return [token for text in self.to(email) for token in TOKEN.findall(text)]
