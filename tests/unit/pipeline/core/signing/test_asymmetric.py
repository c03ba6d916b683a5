import base64
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.signing.asymmetric import describe_key, format_public_key, sign_asymmetric
from pipeline.core.signing.signature import format_standard_secret, sign_standard

SECRETS = st.uuids().map(str)


def verify(public_key: bytes, signature: str, signed: bytes) -> None:
    version, _, code = signature.partition(",")
    assert "v1a" == version
    Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(code, validate=True), signed)


@given(SECRETS, SECRETS, st.binary())
def test_a_public_key_verifies_what_was_signed_and_nothing_else(secret: str, other: str, body: bytes) -> None:
    """Either form of the key verifies; with a secret of an overlap each signature has a key of its own."""
    secrets = [secret.encode(), other.encode()]
    signatures = sign_asymmetric(secrets, message_id="m", body=body, signed_at_s=7).split(" ")
    signed = b"m.7." + body
    for each, signature in zip(secrets, signatures, strict=True):
        whole = base64.b64decode(format_public_key(each).removeprefix("whpk_"), validate=True)
        x = describe_key(each)["x"]

        assert whole == base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))
        verify(whole, signature, signed)
        with pytest.raises(InvalidSignature):
            verify(whole, signature, signed + b"x")
    assert (secret == other) == (signatures[0] == signatures[1])


def test_clients_that_know_only_v1_take_it_beside_v1() -> None:
    """The real clients skip what they do not know."""
    secret, body, now_s = "0190f1a2-0000-4000-8000-000000000001", b'{"a":1}', int(datetime.now(UTC).timestamp())
    signature = " ".join(
        sign([secret.encode()], message_id="m", body=body, signed_at_s=now_s)
        for sign in (sign_asymmetric, sign_standard)
    )
    headers = {"webhook-id": "m", "webhook-timestamp": str(now_s), "webhook-signature": signature}

    assert {"a": 1} == standardwebhooks.Webhook(format_standard_secret(secret)).verify(body, headers)
    svix.webhooks.Webhook(format_standard_secret(secret)).verify(body, headers)  # raises unless it is genuine


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    """A key always has the same name, and no two the same."""
    one, other = describe_key(b"0190f1a2-0000-4000-8000-000000000001"), describe_key(b"x")

    assert one == describe_key(b"0190f1a2-0000-4000-8000-000000000001")
    assert one["kid"] != other["kid"]
    assert 43 == len(one["kid"])
