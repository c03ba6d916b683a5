"""Signatures on deliveries: Hook0's `X-Hook0-Signature` (v0, v1) and the Standard Webhooks headers (v1).

Both are HMAC-SHA256 keyed with the 36 ASCII characters of the subscription's UUID secret, so one secret serves both;
its Standard Webhooks form is `whsec_` and the base64 of those characters.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence

STANDARD_PREFIX = "whsec_"


def sign_hook0(
    secret: bytes, *, body: bytes, headers: Mapping[str, str], signed_at_s: int, versions: Sequence[str]
) -> str:
    """The value of `X-Hook0-Signature`. v1 covers `headers` (names in any case), sorted by lower-case name."""
    stamp = str(signed_at_s)
    parts = [f"t={stamp}"]
    if "v0" in versions:
        parts.append(f"v0={_mac(secret, stamp.encode() + b'.' + body).hex()}")
    if "v1" in versions:
        covered = sorted((name.lower(), value) for name, value in headers.items())
        names = " ".join(name for name, _ in covered)
        values = ".".join(value for _, value in covered)
        signed = f"{stamp}.{names}.{values}.".encode() + body
        parts += [f"h={names}", f"v1={_mac(secret, signed).hex()}"]
    return ",".join(parts)


def sign_standard(secrets: Sequence[bytes], *, message_id: str, body: bytes, signed_at_s: int) -> str:
    """The value of `webhook-signature`: one `v1,` signature per valid secret, separated by spaces."""
    signed = f"{message_id}.{signed_at_s}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(_mac(secret, signed)).decode()}" for secret in secrets)


def format_standard_secret(secret: str) -> str:
    """The `whsec_` form of a subscription's UUID secret, as Standard Webhooks libraries take it."""
    return STANDARD_PREFIX + base64.b64encode(secret.encode()).decode()


def _mac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, "sha256")
