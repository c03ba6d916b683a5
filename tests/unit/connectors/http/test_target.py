from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.http.client.origin import Origin
from connectors.http.message import HeaderError, Signing, build_request
from connectors.http.target import compile_target
from pipeline.core.events.loop_detection import derive_hop
from pipeline.core.events.records import Endpoint, from_bytes, name_client_key_context, to_bytes
from pipeline.core.signing.sealing import SealingError
from pipeline.core.signing.signature import sign_hook0, sign_standard
from pipeline.endpoint_tls import TlsIdentity
from tests.support.outbound import NOW_US, SEALER, SECRET, SIGNING, SUBSCRIPTION_ID, make_delivery, make_endpoint

URL = "https://example.com:8443/a?b=c"
NOW_S = NOW_US // 1_000_000


def build(
    *, url: str = URL, signing: Signing = SIGNING, delivery: dict[str, Any] | None = None, **fields: Any
) -> tuple[list[str], bytes, dict[str, str]]:
    """(lines of the head, body, headers as they are shown)."""
    target = compile_target(make_endpoint(url, **fields), SEALER)
    made = make_delivery(**delivery or {})
    request, shown = build_request(made, target, signing, payload=made.payload, signed_at_us=NOW_US)
    head, end = request.head[:-4].decode("ascii"), request.head[-4:]
    assert b"\r\n\r\n" == end
    return head.split("\r\n"), bytes(request.body), shown


def read_headers(lines: list[str]) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in lines[1:]]
    assert len(pairs) == len({name for name, _ in pairs}), "a header is there twice"
    return dict(pairs)


def test_the_request() -> None:
    """Request line, every header once, the payload as it is; signed for both kinds of clients."""
    lines, body, _ = build(headers={"X-Team": "a"})
    signed = {
        "x-team": "a",
        "content-type": "application/json",
        "x-event-id": make_delivery().event_id,
        "x-event-type": "billing.invoice.paid",
    }
    secret, delivery_id = SECRET.encode(), make_delivery().delivery_id

    assert "POST /a?b=c HTTP/1.1" == lines[0]
    assert make_delivery().payload == body
    expected = {
        "host": "example.com:8443",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "hookline-deliver/0.1",
        **signed,
        "x-hook0-signature": sign_hook0(secret, body=body, headers=signed, signed_at_s=NOW_S, versions=("v1",)),
        "webhook-id": delivery_id,
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": sign_standard([secret], message_id=delivery_id, body=body, signed_at_s=NOW_S),
        "content-length": str(len(body)),
    }
    assert expected == read_headers(lines)


def test_what_is_shown_is_what_was_sent() -> None:
    """All of it, but for what the subscription's own headers keep secret."""
    lines, _, shown = build(headers={"Authorization": "Bearer abc", "X-Team": "a", "X-Api-Key": "1", "Cookie": "a=b"})
    hidden = {"authorization", "x-api-key", "cookie"}

    sent = read_headers(lines)
    assert sent.keys() == shown.keys()
    assert {name: "(redacted)" if name in hidden else value for name, value in sent.items()} == shown


def test_no_cookies_no_encodings() -> None:
    """We bring none of our own."""
    sent = read_headers(build()[0])

    assert "cookie" not in sent
    assert "identity" == sent["accept-encoding"]
    assert "expect" not in sent


def test_a_subscription_may_name_its_agent() -> None:
    """The subscription's own value takes the place of ours, and is not sent beside it."""
    sent = read_headers(build(headers={"User-Agent": "acme/1", "ACCEPT": "text/plain"})[0])

    assert "acme/1" == sent["user-agent"]
    assert "text/plain" == sent["accept"]


@pytest.mark.parametrize(
    ("headers", "expected"), [({}, "application/json"), ({"Content-Type": "text/plain"}, "text/plain")]
)
def test_a_subscription_may_name_its_content_type(headers: dict[str, str], expected: str) -> None:
    """A content type was once accepted and never sent. One value is sent, and signed."""
    sent = build(headers=headers)[0]

    assert expected == read_headers(sent)["content-type"]


def test_requests_say_where_they_come_from() -> None:
    """The header is there if a hop is given; it is not among the signed ones, which relays may have to change."""
    hop = derive_hop("eu")
    sent = read_headers(build(signing=replace(SIGNING, hop=hop))[0])

    assert hop == sent["hookline-hop"]
    assert "hookline-hop" not in sent["x-hook0-signature"]
    assert "hookline-hop" not in read_headers(build()[0])


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Host": "internal"}, "'Host'"),
        ({"X-Ok": "1", "Content-Length": "0"}, "'Content-Length'"),
        ({"Transfer-Encoding": "chunked"}, "'Transfer-Encoding'"),
        ({"webhook-id": "1"}, "'webhook-id'"),
        ({"x-hook0-signature": "1"}, "'x-hook0-signature'"),
        ({"X-A": "a\r\nX-B: b"}, "'X-A'"),
        ({"X-A": "ü"}, "'X-A'"),
        ({"X-A\r\nX-B": "1"}, "is not a header name"),
        ({"": "1"}, "is not a header name"),
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, str], named: str) -> None:
    """A bad header that came into the log past the API is not sent; its name is shown, its value is not."""
    with pytest.raises(HeaderError, match="header") as raised:
        build(headers=headers)

    assert named in str(raised.value)


def test_the_configured_signature_header_is_ours() -> None:
    """The header is ours under any name."""
    with pytest.raises(HeaderError):
        build(headers={"X-Acme-Signature": "1"}, signing=replace(SIGNING, header="X-Acme-Signature"))
    assert "1" == read_headers(build(headers={"X-Acme-Signature": "1"})[0])["x-acme-signature"]


@pytest.mark.parametrize("name", ["a\r\nX-B: b", "shop.größe.neu", "a\x00b", "50 % off", "a%C3%BC", "\u2028", "🙂"])
def test_a_type_is_sent_encoded(name: str) -> None:
    """All but visible ASCII is percent-encoded, and `%` too: undoing it gives the name, whatever it is."""
    sent = read_headers(build(delivery={"event_type": name})[0])["x-event-type"]

    assert sent.isascii()
    assert sent.isprintable()
    assert name == unquote(sent)


@pytest.mark.parametrize("field", ["event_id", "payload_content_type"])
@pytest.mark.parametrize("value", ["a\r\nX-B: b", "a\nb", "ü", "a\x00", " a"])
def test_deliveries_that_cannot_be_sent(field: str, value: str) -> None:
    """Producers other than the gateway may write anything into the log: it does not get into a header."""
    with pytest.raises(HeaderError):
        build(delivery={field: value})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4), st.text(max_size=20), st.text())
def test_no_text_breaks_out_of_its_place(headers: dict[str, str], event_type: str, path: str) -> None:
    """All texts make one request line and one line per header, or are refused."""
    target = compile_target(make_endpoint(f"https://example.com/{path}", headers=headers), SEALER)
    if target.origin is None:
        return
    try:
        delivery = make_delivery(event_type=event_type)
        request, shown = build_request(delivery, target, SIGNING, payload=b"{}", signed_at_us=NOW_US)
    except HeaderError:
        return

    lines = request.head.split(b"\r\n")
    assert [b"", b""] == lines[-2:]
    assert len(shown) + 1 == len(lines) - 2
    assert 3 == len(lines[0].split(b" "))
    assert all(b"\r" not in line and b"\n" not in line and b"\x00" not in line for line in lines)


def test_secrets_that_have_ended_do_not_sign() -> None:
    """Both secrets sign while they rotate; afterwards the old one does not."""
    old = "11111111-1111-4111-8111-111111111111"
    both, _, _ = build(secrets=((SECRET, None), (old, NOW_US + 1)))
    one, _, _ = build(secrets=((SECRET, None), (old, NOW_US)))

    assert 2 == len(read_headers(both)["webhook-signature"].split())
    assert 1 == len(read_headers(one)["webhook-signature"].split())


def test_own_timeouts_are_taken_along() -> None:
    """An endpoint's own time-outs go with the request."""
    target = compile_target(make_endpoint(URL, connect_timeout_s=1.5, total_timeout_s=4.0), SEALER)
    request, _ = build_request(make_delivery(), target, SIGNING, payload=b"{}", signed_at_us=NOW_US)

    assert (1.5, 4.0) == (request.connect_timeout_s, request.total_timeout_s)


def make_tls_endpoint(url: str = URL, *, context: str | None = None) -> Endpoint:
    context = name_client_key_context(SUBSCRIPTION_ID) if context is None else context
    sealed = SEALER.seal(b"key", context=context, nonce=bytes(12))
    return make_endpoint(
        url,
        tls_ca_pem="authorities",
        tls_client_cert_pem="certificate",
        tls_client_key={"key_id": sealed.key_id, "sealed": sealed.sealed},
    )


def test_own_certificates() -> None:
    """Certificates travel with the endpoint, the key sealed, and belong to the origin: no connection is shared."""
    endpoint = from_bytes(to_bytes(make_tls_endpoint()))
    assert isinstance(endpoint, Endpoint)
    target = compile_target(endpoint, SEALER)

    identity = TlsIdentity(ca_pem="authorities", certificate_pem="certificate", key_pem="key")
    assert Origin(True, "example.com", 8443, identity) == target.origin
    assert Origin(True, "example.com", 8443) != target.origin
    assert "key_pem" not in repr(target.origin)


def test_without_tls_they_make_no_difference() -> None:
    """Plain connections to one host are shared by all."""
    assert Origin(False, "example.com", 80) == compile_target(make_tls_endpoint("http://example.com/"), SEALER).origin


@pytest.mark.parametrize("context", ["", SUBSCRIPTION_ID, "another/tls-client-key"])
def test_a_key_that_was_moved_does_not_open(context: str) -> None:
    """A key is sealed for its subscription and its use: another's key, or a signing secret, is not taken for it."""
    with pytest.raises(SealingError):
        compile_target(make_tls_endpoint(context=context), SEALER)
