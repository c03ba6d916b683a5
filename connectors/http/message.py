"""From a delivery and a target to the request that is sent, signed at the moment of sending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.http.exchange import Request
from connectors.http.target import Target
from pipeline.core.records import Delivery
from pipeline.core.signature import sign_hook0, sign_standard

SECOND_US = 1_000_000
SECRET_WORDS = ("auth", "cookie", "token", "secret", "password", "api-key", "apikey")
REDACTED = "(redacted)"


class HeaderError(ValueError):
    """A header value cannot be sent; the message names the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How deliveries are signed."""

    header: str  # the name of the Hook0 signature's header
    versions: Sequence[str]


def build_request(
    delivery: Delivery, target: Target, signing: Signing, *, signed_at_us: int
) -> tuple[Request, dict[str, str]]:
    """The request, and its headers as they are archived. `target` has an origin. Raises `HeaderError`."""
    assert target.origin is not None  # noqa: S101 - the caller has looked at `problem`
    headers = dict(target.headers)
    headers["content-type"] = delivery.payload_content_type
    headers["x-event-id"] = delivery.event_id
    headers["x-event-type"] = delivery.event_type
    _check_headers(headers)
    keys = [
        secret.key for secret in target.secrets if secret.valid_until_us is None or secret.valid_until_us > signed_at_us
    ]
    signed_at_s = signed_at_us // SECOND_US
    body = delivery.payload
    signature = sign_hook0(keys[0], body=body, headers=headers, signed_at_s=signed_at_s, versions=signing.versions)
    headers[signing.header.lower()] = signature
    headers["webhook-id"] = delivery.delivery_id
    headers["webhook-timestamp"] = str(signed_at_s)
    headers["webhook-signature"] = sign_standard(
        keys, message_id=delivery.delivery_id, body=body, signed_at_s=signed_at_s
    )
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    length = f"content-length: {len(body)}\r\n\r\n"
    head = target.request_line + target.fixed_head + (lines + length).encode("ascii")
    is_head = target.endpoint.method == "HEAD"
    return Request(origin=target.origin, is_head=is_head, head=head, body=body), _redact(headers)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise HeaderError(f"the value of header {name!r} is not visible ASCII")


def _redact(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: REDACTED if any(word in name for word in SECRET_WORDS) else value for name, value in headers.items()}
