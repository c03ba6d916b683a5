"""Is a delivery genuine? The receiver's side of `signature.py`, for `hookline listen` and as a model for receivers.

A finding is None when all is well, `Absent` when the headers of a scheme are not there at all, or one sentence about
what is wrong. Codes are compared in constant time, and a time stamp may be five minutes off in either direction.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.events.ids import read_uuid
from pipeline.core.signing.signature import STANDARD_PREFIX, sign_standard

TOLERANCE_S = 300
HOOK0_HEADER = "x-hook0-signature"
STANDARD_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
STAMP_MAX_CHARS = 12
MISMATCH = "it does not fit: another secret, or something was changed on the way"
VERSIONS = ("v1", "v0")  # the first that is there counts; there is no falling back to a weaker one


class WrongHeaderError(ValueError):
    """A signature header cannot be read; the message says why. Never let out."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The headers of a scheme are not there."""


Finding = str | Absent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The finding for each scheme."""

    hook0: Finding
    standard: Finding

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes that hold."""
        return tuple(name for name, finding in self._findings() if finding is None)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems found, a sentence each. An absent scheme is no problem as long as the other one is present."""
        wrong = tuple(f"{name}: {finding}" for name, finding in self._findings() if isinstance(finding, str))
        return wrong if wrong or self.schemes else ("it carries no signature",)

    @property
    def is_genuine(self) -> bool:
        return not self.problems

    def _findings(self) -> tuple[tuple[str, Finding], tuple[str, Finding]]:
        return ("hook0", self.hook0), ("standard", self.standard)


def verify(
    keys: Sequence[bytes], *, headers: Mapping[str, str], body: bytes, now_s: float, hook0_header: str = HOOK0_HEADER
) -> Verification:
    """Verify both schemes. `keys`: one or, while a secret is rotated, several; `headers`: names in lower case."""
    return Verification(
        hook0=check_hook0(keys, headers=headers, body=body, now_s=now_s, hook0_header=hook0_header),
        standard=check_standard(keys, headers=headers, body=body, now_s=now_s),
    )


def check_hook0(
    keys: Sequence[bytes], *, headers: Mapping[str, str], body: bytes, now_s: float, hook0_header: str = HOOK0_HEADER
) -> Finding:
    """Verify `X-Hook0-Signature`: `t=…,h=…,v1=…`, or `t=…,v0=…`. The operator may have given it another name."""
    value = headers.get(hook0_header)
    if value is None:
        return Absent()
    try:
        parts = _split_hook0(value)
        stamp = parts.get("t", "")
        version = next((version for version in VERSIONS if version in parts), None)
        if version is None:
            return "it has neither v1 nor v0"
        problem = _find_stamp_problem(stamp, now_s)
        if problem is not None:
            return problem
        covered = _cover_headers(parts.get("h"), headers) if version == "v1" else b""
    except WrongHeaderError as error:
        return str(error)
    try:
        code = bytes.fromhex(parts[version])
    except ValueError:
        return f"its {version} is not hexadecimal"
    signed = stamp.encode() + b"." + covered + body
    if not _is_any_equal([code], [hmac.digest(key, signed, "sha256") for key in keys]):
        return MISMATCH
    return None


def check_standard(keys: Sequence[bytes], *, headers: Mapping[str, str], body: bytes, now_s: float) -> Finding:
    """Verify the Standard Webhooks headers. One fitting signature of several is enough."""
    there = [name for name in STANDARD_HEADERS if name in headers]
    if not there:
        return Absent()
    if len(there) < len(STANDARD_HEADERS):
        return f"{', '.join(name for name in STANDARD_HEADERS if name not in there)} is missing"
    message_id, stamp, signatures = (headers[name] for name in STANDARD_HEADERS)
    problem = _find_stamp_problem(stamp, now_s)
    if problem is not None:
        return problem
    codes = [_decode(word.removeprefix("v1,")) for word in signatures.split() if word.startswith("v1,")]
    if not codes:
        return "webhook-signature has no v1"
    try:
        expected = [sign_standard([key], message_id=message_id, body=body, signed_at_s=int(stamp)) for key in keys]
    except UnicodeEncodeError:
        return "webhook-id is no text"
    if not _is_any_equal(codes, [_decode(word.removeprefix("v1,")) for word in expected]):
        return MISMATCH
    return None


def parse_secret(text: str) -> bytes:
    """The key of a subscription's secret, which is a UUID or its `whsec_` form. Raises `ValueError` saying so."""
    if text.startswith(STANDARD_PREFIX):
        key = _decode(text.removeprefix(STANDARD_PREFIX))
        if key:
            return key
    else:
        try:
            return read_uuid(text).encode()
        except ValueError:
            pass
    raise ValueError(f"a secret is a UUID, or {STANDARD_PREFIX} followed by base64")


def _split_hook0(value: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in value.split(","):
        name, separator, content = part.strip().partition("=")
        if not separator or name in parts:
            raise WrongHeaderError(f"its part {part.strip()!r} is not name=value, or there twice")
        parts[name] = content
    return parts


def _cover_headers(names: str | None, headers: Mapping[str, str]) -> bytes:
    """The text that v1 signs before the body, in the order that the signature names the headers."""
    if names is None:
        raise WrongHeaderError("it has v1 and does not say which headers it covers (h)")
    missing = [name for name in names.split() if name.lower() not in headers]
    if missing:
        raise WrongHeaderError(f"it covers {missing[0]!r}, a header that is not there")
    values = ".".join(headers[name.lower()] for name in names.split())
    try:
        # bytes that are no UTF-8 arrive as lone surrogates
        return f"{names}.{values}.".encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise WrongHeaderError("a header that it covers is no text") from None


def _find_stamp_problem(stamp: str, now_s: float) -> str | None:
    # `int` alone would take blanks, underscores and digits of other scripts
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= STAMP_MAX_CHARS):
        return f"its time {stamp!r} is not in seconds since 1970"
    off_s = now_s - int(stamp)
    if abs(off_s) > TOLERANCE_S:
        return (
            f"it was signed {abs(off_s):.0f} s {'ago' if off_s > 0 else 'ahead'}, more than {TOLERANCE_S} are allowed"
        )
    return None


def _decode(text: str) -> bytes:
    """Base64, or nothing, which no code is equal to."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_any_equal(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    # all pairs, so that the time does not tell which one was right
    return sum(hmac.compare_digest(code, right) for code in given for right in expected) > 0
