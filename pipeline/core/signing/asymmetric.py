"""Standard Webhooks' asymmetric signatures, `v1a`: Ed25519, for receivers that shall verify and not be able to sign.

The key pair of a subscription follows from its secret (HKDF-SHA256, RFC 5869), so that it is rotated with it and no
other secret is kept. Who knows the secret can sign both ways; the public key says nothing about it.
"""

import base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TypedDict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PUBLIC_PREFIX = "whpk_"
KEY_BYTES = 32
KEYS_REMEMBERED = 4096


class JsonWebKey(TypedDict):
    """A public key as RFC 8037 has it. `kid`: its thumbprint (RFC 7638)."""

    kty: str
    crv: str
    x: str
    use: str
    alg: str
    kid: str


def sign_asymmetric(secrets: Sequence[bytes], *, message_id: str, body: bytes | memoryview, signed_at_s: int) -> str:
    """The part of `webhook-signature` beside `v1`: one `v1a,` signature per valid secret, separated by spaces."""
    signed = f"{message_id}.{signed_at_s}.".encode() + body
    return " ".join(f"v1a,{base64.b64encode(_derive(secret).sign(signed)).decode()}" for secret in secrets)


def format_public_key(secret: bytes) -> str:
    """The `whpk_` form, as Standard Webhooks writes it."""
    return PUBLIC_PREFIX + base64.b64encode(_find_public(secret)).decode()


def describe_key(secret: bytes) -> JsonWebKey:
    """The public key for a JWKS."""
    x = _encode_url(_find_public(secret))
    # RFC 7638 §3: the required members, sorted, without blanks
    thumbprint = sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA", "kid": _encode_url(thumbprint)}


def _find_public(secret: bytes) -> bytes:
    return _derive(secret).public_key().public_bytes_raw()


@lru_cache(maxsize=KEYS_REMEMBERED)
def _derive(secret: bytes) -> Ed25519PrivateKey:
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"hookline standard webhooks v1a")
    return Ed25519PrivateKey.from_private_bytes(hkdf.derive(secret))


def _encode_url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
