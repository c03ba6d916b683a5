"""Deliveries and targets become requests, signed at the moment of sending."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from connectors.http.client.exchange import Request
from connectors.http.target import Target, format_headers
from pipeline.core.events.claim_check import Payload
from pipeline.core.events.cloud_events import STRUCTURED_TYPE
from pipeline.core.events.cloud_events_out import name_data_type, write_headers, write_structured
from pipeline.core.events.headers import find_value_problem
from pipeline.core.events.loop_detection import HOP_HEADER
from pipeline.core.events.names import encode_header_text
from pipeline.core.events.records import Delivery
from pipeline.core.signing.asymmetric import sign_asymmetric
from pipeline.core.signing.signature import sign_hook0, sign_standard
from pipeline.core.trace_context import TRACEPARENT
from pipeline.core.units import SECOND_US

TEXTS_REMEMBERED = 4096


class HeaderError(ValueError):
    """A header cannot be sent; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How deliveries are signed. `hop`: what says that they come from us, for detecting loops; None: nothing."""

    header: str  # the name of the Hook0 signature's header
    versions: Sequence[str]
    has_asymmetric: bool = False  # Standard Webhooks' `v1a` beside `v1`
    hop: str | None = None


def build_request(
    delivery: Delivery,
    target: Target,
    signing: Signing,
    *,
    payload: Payload,
    signed_at_us: int,
    traceparent: str | None = None,
) -> tuple[Request, dict[str, str]]:
    """The request, and its headers as they are archived. `target` has an origin. Raises `HeaderError`.

    `payload`: the delivery's, or the one that its claim check names. `traceparent`: for the receiver, unless its
    subscription has one of its own; None: none.
    """
    assert target.origin is not None  # noqa: S101 - the caller has looked at `problem`
    signature_header = signing.header.lower()
    if target.header_problem is not None:
        raise HeaderError(target.header_problem)
    if signature_header in target.headers:
        raise HeaderError(f"the header {signature_header!r} cannot be set by a subscription")
    # a subscription may name another: its endpoint may take only that
    content_type = target.headers.get("content-type", delivery.payload_content_type)
    event_type, type_problem = _format_event_type(delivery.event_type)
    problem = (
        _find_content_type_problem(content_type) or find_value_problem("x-event-id", delivery.event_id) or type_problem
    )
    if problem is not None:
        raise HeaderError(problem)
    about = {"content-type": content_type, "x-event-id": delivery.event_id, "x-event-type": event_type}
    body = payload
    # what these are made of are headers by now, or is encoded as such
    match target.endpoint.event_format:
        case "cloudevents-structured":
            about["content-type"], body = STRUCTURED_TYPE, write_structured(delivery, payload)
        case "cloudevents-binary":
            about["content-type"] = target.headers.get("content-type", name_data_type(delivery))
            about |= write_headers(delivery)
    signed = {**target.headers, **about}
    secrets = [
        secret for secret in target.secrets if secret.valid_until_us is None or secret.valid_until_us > signed_at_us
    ]
    keys = [secret.mac_key for secret in secrets]
    signed_at_s = signed_at_us // SECOND_US
    standard = sign_standard(keys, message_id=delivery.delivery_id, body=body, signed_at_s=signed_at_s)
    if signing.has_asymmetric:
        standard += " " + sign_asymmetric(
            [secret.key for secret in secrets], message_id=delivery.delivery_id, body=body, signed_at_s=signed_at_s
        )
    added = {
        signature_header: sign_hook0(
            keys[0], body=body, headers=signed, signed_at_s=signed_at_s, versions=signing.versions
        ),
        "webhook-id": delivery.delivery_id,
        "webhook-timestamp": str(signed_at_s),
        "webhook-signature": standard,
    }
    if signing.hop is not None:
        added[HOP_HEADER] = signing.hop
    if traceparent is not None and TRACEPARENT not in target.headers:
        added[TRACEPARENT] = traceparent
    added["content-length"] = str(len(body))
    request = Request(
        owner=delivery.application_id,
        origin=target.origin,
        is_head=target.endpoint.method == "HEAD",
        head=target.fixed_head + f"{format_headers(signed)}{format_headers(added)}\r\n".encode("ascii"),
        body=body,
        connect_timeout_s=target.endpoint.connect_timeout_s,
        total_timeout_s=target.endpoint.total_timeout_s,
    )
    return request, {**target.shown_headers, **about, **added}


@lru_cache(maxsize=TEXTS_REMEMBERED)
def _find_content_type_problem(content_type: str) -> str | None:
    return find_value_problem("content-type", content_type)


@lru_cache(maxsize=TEXTS_REMEMBERED)
def _format_event_type(event_type: str) -> tuple[str, str | None]:
    """The event type's header value, and the reason why it cannot be sent."""
    value = encode_header_text(event_type)
    return value, find_value_problem("x-event-type", value)
