import base64
import hmac
from datetime import UTC, datetime
from uuid import UUID

import hook0
import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.signing.signature import MacKey, format_standard_secret, sign_hook0, sign_standard

SECRETS = st.uuids().map(str)
HEADERS = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True),
    st.from_regex(r"[!-~]([ -~]{0,10}[!-~])?", fullmatch=True),
    max_size=4,
).filter(lambda headers: len({name.lower() for name in headers}) == len(headers))


def now_s() -> int:
    return int(datetime.now(UTC).timestamp())


@pytest.mark.parametrize("versions", [("v0",), ("v1",), ("v0", "v1")])
@given(SECRETS, st.binary(), HEADERS)
def test_hook0s_client_verifies(versions: tuple[str, ...], secret: str, body: bytes, headers: dict[str, str]) -> None:
    """Hook0's own client, unmodified, takes a signature of each version, over whatever body and headers."""
    signed_at_s = 1_795_500_460
    signature = sign_hook0(secret.encode(), body=body, headers=headers, signed_at_s=signed_at_s, versions=versions)

    hook0.verify_webhook_signature_with_current_time(
        signature, body, headers, secret, 60.0, datetime.fromtimestamp(signed_at_s, UTC)
    )


@given(SECRETS, st.binary(), st.binary(), SECRETS)
def test_hook0s_client_refuses_what_was_changed(secret: str, body: bytes, other: bytes, other_secret: str) -> None:
    """Another body, or another secret, does not pass."""
    signed_at_s = 1_795_500_460
    signature = sign_hook0(secret.encode(), body=body, headers={}, signed_at_s=signed_at_s, versions=("v1",))
    at = datetime.fromtimestamp(signed_at_s, UTC)

    for changed_body, changed_secret in ((other, secret), (body, other_secret)):
        if (changed_body, changed_secret) != (body, secret):
            with pytest.raises(hook0.Hook0ClientError):
                hook0.verify_webhook_signature_with_current_time(signature, changed_body, {}, changed_secret, 60.0, at)


@given(SECRETS, SECRETS, st.uuids().map(str), st.text(st.characters(codec="utf-8")))
def test_standard_clients_verify(secret: str, old_secret: str, message_id: str, text: str) -> None:
    """The clients of Standard Webhooks and Svix take the signature, also by the old secret while it is rotated."""
    body, signed_at_s = text.encode(), now_s()
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(signed_at_s),
        "webhook-signature": sign_standard(
            [secret.encode(), old_secret.encode()], message_id=message_id, body=body, signed_at_s=signed_at_s
        ),
    }

    for each in (secret, old_secret):
        whsec = format_standard_secret(each)
        standardwebhooks.Webhook(whsec).verify(body, headers, json_parse=False)
        svix.webhooks.Webhook(whsec).verify(body, headers)


@given(SECRETS, st.text(st.characters(codec="utf-8")))
def test_standard_clients_refuse_what_was_changed(secret: str, text: str) -> None:
    """A body with one more byte, or another id, does not pass."""
    body, signed_at_s = text.encode(), now_s()
    signature = sign_standard([secret.encode()], message_id="id", body=body, signed_at_s=signed_at_s)
    verifier = standardwebhooks.Webhook(format_standard_secret(secret))

    for message_id, changed in (("id", body + b" "), ("other", body)):
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(signed_at_s),
            "webhook-signature": signature,
        }
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            verifier.verify(changed, headers, json_parse=False)


def test_vectors() -> None:
    """The bytes that are signed, spelled out: what a verifier in another language has to build."""
    secret, body = b"4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11", b'{"a":1}'
    v0 = hmac.new(secret, b"1700000000." + body, "sha256").hexdigest()
    v1 = hmac.new(secret, b"1700000000.x-a x-b.1.2." + body, "sha256").hexdigest()
    standard = base64.b64encode(hmac.new(secret, b"id.1700000000." + body, "sha256").digest()).decode()

    assert f"t=1700000000,v0={v0},h=x-a x-b,v1={v1}" == sign_hook0(
        secret, body=body, headers={"X-B": "2", "x-a": "1"}, signed_at_s=1_700_000_000, versions=("v0", "v1")
    )
    assert f"v1,{standard}" == sign_standard([secret], message_id="id", body=body, signed_at_s=1_700_000_000)


def test_the_standard_form_holds_the_characters_of_the_uuid() -> None:
    """One secret serves both: decoded, the `whsec_` form is the text that Hook0's clients are given."""
    secret = str(UUID(int=7))
    shown = format_standard_secret(secret)

    assert shown.startswith("whsec_")
    assert secret == base64.b64decode(shown.removeprefix("whsec_")).decode()


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200), max_size=3))
def test_a_prepared_key_signs_as_the_standard_library_does(secret: bytes, parts: list[bytes]) -> None:
    """Secrets longer than a block of the hash, and empty ones, sign alike; the parts are one message."""
    key = MacKey(secret)

    assert hmac.digest(secret, b"".join(parts), "sha256") == key.sign(*parts)
    assert hmac.digest(secret, b"", "sha256") == key.sign()
