"""Asks the real, unmodified client libraries whether a recorded delivery is genuine.

The secret's `whsec_` form is worked out here and not taken from the product, so that a mistake there shows.
"""

import base64
from datetime import UTC, datetime

import hook0
import standardwebhooks
import svix.webhooks

from tests.support.receiver import ReceivedRequest

TOLERANCE_S = 300.0
HOOK0_HEADER = "X-Hook0-Signature"
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def verify_delivery(request: ReceivedRequest, secret: str) -> tuple[str, ...]:
    """Have every client that can read the body verify it; their names.

    `secret`: the subscription's UUID as the API shows it. The clients' own exceptions come through. The Standard
    Webhooks clients take text only: a body that is not UTF-8 is verified by Hook0's alone.
    """
    verify_hook0(request, secret)
    try:
        request.body.decode()
    except UnicodeDecodeError:
        return ("hook0",)
    verify_standard(request, secret)
    verify_svix(request, secret)
    return ("hook0", "standardwebhooks", "svix")


def verify_hook0(request: ReceivedRequest, secret: str) -> None:
    """Hook0's client, at the time of arrival. Raises `Hook0ClientError`, or AssertionError when there is no header."""
    hook0.verify_webhook_signature_with_current_time(
        request.header(HOOK0_HEADER),
        request.body,
        request.headers,
        secret,
        TOLERANCE_S,
        datetime.fromtimestamp(request.arrived_at_us / 1_000_000, UTC),
    )


def verify_standard(request: ReceivedRequest, secret: str) -> None:
    """The `standardwebhooks` client, which knows only now: ask within five minutes of arrival."""
    verifier = standardwebhooks.Webhook(format_whsec(secret))
    verifier.verify(request.body, _standard_headers(request), json_parse=False)


def verify_svix(request: ReceivedRequest, secret: str) -> None:
    """Svix's client, which knows only now as well."""
    svix.webhooks.Webhook(format_whsec(secret)).verify(request.body, _standard_headers(request))


def format_whsec(secret: str) -> str:
    """`whsec_` and the base64 of the UUID's 36 ASCII characters."""
    return "whsec_" + base64.b64encode(secret.encode("ascii")).decode()


def _standard_headers(request: ReceivedRequest) -> dict[str, str]:
    return {name: request.header(name) for name in STANDARD_HEADERS}
