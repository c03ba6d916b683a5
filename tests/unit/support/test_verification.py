import time
from dataclasses import replace

import hook0.errors
import pytest
import standardwebhooks

from pipeline.core.signing.signature import format_standard_secret, sign_hook0, sign_standard
from tests.support.receiver import ReceivedRequest
from tests.support.receiver.requests import digest
from tests.support.verification import format_whsec, verify_delivery, verify_hook0, verify_standard, verify_svix

SECRET = "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60"
OTHER_SECRET = "00000000-9a52-4a8e-8f5b-2d1c7e4a9b60"


def make_request(body: bytes = b'{"a":1}') -> ReceivedRequest:
    """A genuine delivery, signed now."""
    now_s = int(time.time())
    covered = {"Content-Type": "application/json", "X-Event-Id": "e1", "X-Event-Type": "a.b.c"}
    key = SECRET.encode()
    headers = covered | {
        "X-Hook0-Signature": sign_hook0(key, body=body, headers=covered, signed_at_s=now_s, versions=("v1",)),
        "webhook-id": "d1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard([key], message_id="d1", body=body, signed_at_s=now_s),
    }
    return ReceivedRequest(
        number=1,
        connection=1,
        method="POST",
        target="/",
        headers=tuple(headers.items()),
        body=body,
        body_bytes=len(body),
        body_sha256=digest(body),
        arrived_at_us=now_s * 1_000_000,
        arrived_monotonic_s=0.0,
        answer="Ok()",
    )


def test_a_genuine_delivery_is_accepted_by_all_clients() -> None:
    """Hook0's, the Standard Webhooks one and Svix's, from one secret."""
    assert verify_delivery(make_request(), SECRET) == ("hook0", "standardwebhooks", "svix")


def test_a_body_that_is_no_text_is_verified_by_the_client_that_can() -> None:
    """The answer says that the others were not asked."""
    assert verify_delivery(make_request(b"\xff\x00"), SECRET) == ("hook0",)


def test_a_changed_body_is_refused_by_each_client() -> None:
    """One byte is enough."""
    changed = replace(make_request(), body=b'{"a":2}')

    with pytest.raises(hook0.errors.Hook0ClientError):
        verify_hook0(changed, SECRET)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify_standard(changed, SECRET)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify_svix(changed, SECRET)


def test_another_secret_is_refused() -> None:
    """A delivery for another receiver does not pass."""
    with pytest.raises(hook0.errors.Hook0ClientError):
        verify_hook0(make_request(), OTHER_SECRET)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify_standard(make_request(), OTHER_SECRET)


def test_a_missing_or_doubled_signature_fails() -> None:
    """The failure is an assertion, which names the header."""
    genuine = make_request()
    bare = replace(genuine, headers=genuine.headers[:3])
    doubled = replace(genuine, headers=(*genuine.headers, ("webhook-signature", "v1,AAAA")))

    with pytest.raises(AssertionError, match="X-Hook0-Signature is there 0 times"):
        verify_delivery(bare, SECRET)
    with pytest.raises(AssertionError, match="webhook-signature is there 2 times"):
        verify_delivery(doubled, SECRET)


def test_the_product_shows_the_secret_in_the_form_worked_out_here() -> None:
    """`whsec_` and base64 of the 36 characters."""
    assert format_whsec(SECRET) == format_standard_secret(SECRET)
