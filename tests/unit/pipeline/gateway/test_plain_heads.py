"""Which heads are read without a parser: those of the usual clients, and none whose meaning could be doubted."""

import pytest

from pipeline.gateway.plain_heads import PlainHead, PlainHeads

PATH = "/api/v1/event"
TOKEN = "9b2f7c1e-0000-4000-8000-000000000001"
FIELDS = (
    "Host: localhost:8080",
    f"Authorization: Bearer {TOKEN}",
    "Content-Type: application/json",
    "Content-Length: 300",
)


def write_head(*fields: str, start: str = f"POST {PATH} HTTP/1.1") -> bytes:
    return "\r\n".join((start, *fields, "", "")).encode("latin-1")


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def read(data: bytes) -> PlainHead | None:
    return PlainHeads(PATH, proxy_header="X-Forwarded-For", body_max_bytes=100_000).read(data)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("Accept: */*", "Accept-Encoding: gzip, deflate", "User-Agent: Python/3.11 aiohttp/3.14.5"),
        ("Connection: keep-alive", "accept: */*", "User-Agent: node"),
        ("User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"),
        (f"traceparent: {PARENT}", "X-Empty-Not: a  b"),
    ],
)
def test_the_heads_of_usual_clients_are_plain(more: tuple[str, ...]) -> None:
    """The short way is for the requests of usual clients."""
    data = write_head(*more, *FIELDS)

    trace = (("traceparent", PARENT.encode()),) if f"traceparent: {PARENT}" in more else None

    assert PlainHead(len(data), 300, TOKEN, (), trace) == read(data + b"{" * 300)


def test_heads_of_a_trace_are_not_remembered() -> None:
    """None of them comes twice: they would push out those that do."""
    heads = PlainHeads(PATH, proxy_header="X-Forwarded-For", body_max_bytes=100_000)
    for more in ((), (f"traceparent: {PARENT}",)):
        data = write_head(*more, *FIELDS)
        head = heads.read(data)
        assert head is not None
        heads.remember(data, head)
    plain, traced = (write_head(*more, *FIELDS) for more in ((), (f"traceparent: {PARENT}",)))

    assert heads.read(plain) is heads.read(plain)
    assert heads.read(traced) is not heads.read(traced)


def test_what_proxies_say_is_kept() -> None:
    """The address of the client comes from it, where the peer is one of ours."""
    head = read(write_head(*FIELDS, "X-Forwarded-For: 192.0.2.1, 10.0.0.1"))

    assert head is not None
    assert ("192.0.2.1, 10.0.0.1",) == head.forwarded


@pytest.mark.parametrize(
    "data",
    [
        write_head(*FIELDS)[:-2],
        write_head(*FIELDS, start=f"POST {PATH}/ HTTP/1.1"),
        write_head(*FIELDS, start=f"POST {PATH}?a=b HTTP/1.1"),
        write_head(*FIELDS, start=f"POST {PATH} HTTP/1.0"),
        write_head(*FIELDS, start=f"post {PATH} HTTP/1.1"),
        write_head(*FIELDS[1:]),
        write_head(*FIELDS[:1], *FIELDS[2:]),
        write_head(*FIELDS[:2], FIELDS[3]),
        write_head(*FIELDS[:3]),
        write_head(*FIELDS, FIELDS[3]),
        write_head(*FIELDS, "content-length: 301"),
        write_head(*FIELDS[:3], "Content-Length: +300"),
        write_head(*FIELDS[:3], "Content-Length: 300, 300"),
        write_head(*FIELDS[:3], "Content-Length: 100001"),
        write_head(*FIELDS, "Transfer-Encoding: chunked"),
        write_head(*FIELDS, "Content-Encoding: gzip"),
        write_head(*FIELDS, "Expect: 100-continue"),
        write_head(*FIELDS, "Upgrade: h2c"),
        write_head(*FIELDS, "Connection: close"),
        write_head(*FIELDS, "Origin: https://example.com"),
        write_head(*FIELDS, "Hookline-Hop: 0123456789abcdef"),
        write_head(*FIELDS, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"),
        write_head(*FIELDS, " folded: line"),
        write_head(*FIELDS, "X-Blank : before the colon"),
        write_head(*FIELDS, "X-Latin: \xe9"),
        write_head(*FIELDS, "X-Control: \x01"),
        write_head(*FIELDS, "X-Empty:"),
        write_head(*FIELDS, "no colon"),
        write_head("Host: a/b", *FIELDS[1:]),
        write_head(*FIELDS[:2], "Content-Type: text/plain", FIELDS[3]),
        write_head(*FIELDS).replace(b"\r\n", b"\n"),
        write_head(*FIELDS).replace(b"\r\nContent-Type", b"\nContent-Type"),
        write_head(*FIELDS, f"X-Long: {'a' * 5000}"),
    ],
)
def test_whatever_could_be_doubted_is_not_plain(data: bytes) -> None:
    """Framing, encodings, repeated fields, bytes that are no visible ASCII: a whole parser decides about those."""
    assert read(data + b"{" * 300) is None


def test_a_head_that_is_remembered_reads_the_same() -> None:
    """The memory answers as the bytes did, and only for the very same bytes."""
    heads = PlainHeads(PATH, proxy_header="X-Forwarded-For", body_max_bytes=100_000)
    data = write_head(*FIELDS)
    first = heads.read(data)
    assert first is not None
    heads.remember(data + b"{}", first)

    assert first == heads.read(data + b"[]")
    assert heads.read(write_head(*FIELDS, "Expect: 100-continue")) is None
