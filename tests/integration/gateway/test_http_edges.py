"""Requests at the edges of HTTP: whatever arrives is answered by a problem document, with HTTP's status for it."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from pipeline.gateway.server import API_PATH, MODULES
from tests.support.api import describe_event, describe_subscription
from tests.support.certificates import Authority
from tests.support.raw_http import RawHttp, RawReply, write_request
from tests.support.stack import MASTER_KEY, Stack, run_stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

TYPE = "billing.invoice.paid"
PARAMETER = re.compile(r"{(\w+)}")
BEARER = {"Authorization": f"Bearer {MASTER_KEY}".encode()}
JSON = BEARER | {"Content-Type": b"application/json"}
ERRORS = f"{API_PATH}/errors".encode()
REQUEST_TIMEOUT_S = 1.0


async def exchange(stack: Stack, request: bytes, *, is_head: bool = False) -> RawReply:
    async with RawHttp(stack.api.url) as client:
        return await client.exchange(request, is_head=is_head)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/nowhere",
        b"/api/v1",
        b"/api/v1/nowhere",
        b"/api/v2/events",
        b"//api//v1//nowhere//",
        b"/api/v1/event_types/a/b/c",
        b"/api/v1/%2e%2e/%2e%2e/etc/passwd",
        b"/api/v1/events%2f",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_an_unknown_path_is_a_problem(stack: Stack, method: str, target: bytes) -> None:
    """RFC 9110 §15.5.5, RFC 9457: a client that reads problems can read this one."""
    reply = await exchange(stack, write_request(method, target, BEARER, None if method == "GET" else b"{}"))

    assert (404, "NotFound") == reply.problem
    assert "nosniff" == reply.headers["x-content-type-options"]


async def test_a_wrong_method_names_the_right_ones(stack: Stack) -> None:
    """405 with `Allow` (RFC 9110 §15.5.6) for every path and every method that it does not have."""
    allowed: dict[str, set[str]] = {}
    for module in MODULES:
        for route in module.list_routes():
            methods = {"GET", "HEAD"} if route.method == "GET" else {route.method}
            allowed.setdefault(API_PATH + route.path, {"OPTIONS"}).update(methods)
    async with RawHttp(stack.api.url) as client:
        for path, methods in allowed.items():
            if path == f"{API_PATH}/dead_letters/redrive":
                methods |= {"GET", "HEAD"}  # `/dead_letters/{dead_id}` has this path too
            if path == f"{API_PATH}/subscriptions/test_filter":
                methods |= {"GET", "HEAD", "PUT", "DELETE"}  # so has `/subscriptions/{subscription_id}`
            target = path.replace("{", "").replace("}", "").encode()
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"} - methods:
                reply = await client.exchange(write_request(method, target, BEARER, b""))

                assert (405, "MethodNotAllowed") == reply.problem, f"{method} {path}"
                assert methods == set(reply.headers["allow"].split(", ")), f"{method} {path}"
            options = await client.exchange(write_request("OPTIONS", target + b"/", {}, b""))

            assert (204, methods) == (options.status, set(options.headers["allow"].split(", "))), path


async def test_head_is_get_without_a_body(stack: Stack) -> None:
    """RFC 9110 §9.3.2: the same status and headers, no body; also where GET is refused."""
    async with RawHttp(stack.api.url) as client:
        for target in (ERRORS, f"{API_PATH}/organizations".encode(), b"/nowhere"):
            get = await client.exchange(write_request("GET", target, {}))
            head = await client.exchange(write_request("HEAD", target, {}), is_head=True)

            assert get.status == head.status
            assert get.headers["content-length"] == head.headers["content-length"]
            assert b"" == head.body


async def test_head_has_no_body_anywhere(stack: Stack) -> None:
    """Answers to HEAD, of every operation with `GET`, end with their head."""
    space = await stack.api.make_space(TYPE)
    event_id = await stack.api.send(space, TYPE)
    await stack.api.list_attempts(space, event_id)  # waits for the archive, so that exports have something
    query = f"application_id={space.application_id}&organization_id={space.organization_id}&q=x&key=x"
    paths = {route.path for module in MODULES for route in module.list_routes() if route.method == "GET"}
    known = {
        "name": TYPE,
        "event_id": event_id,
        "application_id": space.application_id,
        "organization_id": space.organization_id,
    }
    async with RawHttp(stack.api.url) as client:
        for path in sorted(paths):
            target = PARAMETER.sub(lambda match: known.get(match[1], MASTER_KEY), f"{API_PATH}{path}?{query}")
            for headers in (BEARER, BEARER | {"Accept-Encoding": b"gzip"}):
                closing = headers | {"Connection": b"close"}
                head = await client.exchange(write_request("HEAD", target.encode(), closing), is_head=True)
                get = await client.exchange(write_request("GET", target.encode(), headers))

                assert (path, get.status, b"") == (path, head.status, head.body)
                assert get.headers.get("content-type") == head.headers.get("content-type")


async def test_options_of_everything(stack: Stack) -> None:
    """`OPTIONS *` (RFC 9110 §9.3.7) is about the server."""
    reply = await exchange(stack, write_request("OPTIONS", b"*", {}))

    assert 204 == reply.status
    assert {"GET", "POST", "PUT", "DELETE"} <= set(reply.headers["allow"].split(", "))


@pytest.mark.parametrize(("method", "target"), [("GET", b"*"), ("CONNECT", b"example.com:443"), ("POST", b"*")])
async def test_targets_that_are_no_paths(stack: Stack, method: str, target: bytes) -> None:
    """RFC 9112 §3.2.3, §3.2.4: the other forms of a target lead nowhere here."""
    reply = await exchange(stack, write_request(method, target, {}, b"" if method == "POST" else None))

    assert reply.problem in ((404, "NotFound"), (400, "InvalidRequest"))
    assert "nosniff" == reply.headers["x-content-type-options"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"BREW /api/v1/errors HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/v1/errors HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /api/v1/errors HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /api/v1/errors HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/event HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /api/v1/errors HTTP/1.1\r\nHost: " + b"h" * 10_000 + b"\r\n\r\n",
        b"GET /api/v1/errors HTTP/1.1\r\n" + b"".join(b"H%d: v\r\n" % n for n in range(300)) + b"\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem(stack: Stack, request_bytes: bytes) -> None:
    """RFC 9112 §2.2, §3: refused with 400, and the connection is closed."""
    reply = await exchange(stack, request_bytes)

    assert (400, "InvalidRequest") == reply.problem


@pytest.mark.parametrize("host", [b"x:abc", b"x:99999", b"a b", b"a/b", b"a@b", b"[::1", b"x:1:2", b"caf\xe9", b"a>b"])
async def test_a_host_that_is_none(stack: Stack, host: bytes) -> None:
    """RFC 9112 §3.2: a server must answer 400 to an invalid `Host`."""
    for target in (ERRORS, f"{API_PATH}/request_attempts?application_id={MASTER_KEY}".encode()):
        reply = await exchange(stack, write_request("GET", target, BEARER | {"Host": host}))

        assert (400, "InvalidRequest") == reply.problem


@pytest.mark.parametrize("host", [b"x", b"x:80", b"x:", b"[::1]:80", b"127.0.0.1", b"a_b.c-d.example.", b""])
async def test_hosts_that_are_fine(stack: Stack, host: bytes) -> None:
    """RFC 9110 §7.2: with and without a port, an IPv6 address, the empty one."""
    reply = await exchange(stack, write_request("GET", ERRORS, {"Host": host}))

    assert 200 == reply.status


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"nonsense"])
@pytest.mark.parametrize("body", [b"{}", b"\x1f\x8b\x08\x00broken", b""])
async def test_a_body_that_is_not_encoded_as_it_says(stack: Stack, encoding: bytes, body: bytes) -> None:
    """RFC 9110 §8.4: a `Content-Encoding` that the body does not have is the client's mistake."""
    request = write_request("POST", f"{API_PATH}/event".encode(), JSON | {"Content-Encoding": encoding}, body)
    reply = await exchange(stack, request)

    # an encoding that the server does not have is refused before the body is looked at
    assert reply.problem in ((400, "JsonPayload"), (400, "InvalidRequest"))


async def test_an_expectation_that_cannot_be_met(stack: Stack) -> None:
    """RFC 9110 §10.1.1: 417, and not what the path or the body would get."""
    request = write_request("POST", f"{API_PATH}/event".encode(), JSON | {"Expect": b"miracles"}, b"{}")
    reply = await exchange(stack, request)

    assert (417, "InvalidRequest") == reply.problem


@pytest.mark.parametrize("part", ["a/b", "a%2Fb", "a?b", "a#b", "a+b c", "..", "a;b", "{a}", "{a:b}", "a&b=c", "ü🙂"])
async def test_any_name_can_be_a_part_of_a_path(stack: Stack, part: str) -> None:
    """RFC 3986 §2.4: percent-encoded once, whatever characters the name has."""
    space = await stack.api.make_space()
    body = {"application_id": space.application_id, "service": part, "resource_type": "b", "verb": "c"}
    name = (await stack.api.call("POST", "/event_types", body, token=space.secret)).json["event_type_name"]
    target = f"{API_PATH}/event_types/{quote(name, safe='')}?application_id={space.application_id}".encode()
    shown, deleted, gone = [
        await exchange(stack, write_request(method, target, BEARER)) for method in ("GET", "DELETE", "GET")
    ]

    assert (200, name) == (shown.status, shown.json["event_type_name"])
    assert 204 == deleted.status
    assert (404, "NotFound") == gone.problem


async def test_an_idempotency_key_in_latin_1(stack: Stack) -> None:
    """A header that is not UTF-8 is refused before an id is derived from it."""
    space = await stack.api.make_space(TYPE)
    body = json.dumps({"application_id": space.application_id, "events": []}).encode()
    headers = JSON | {"Idempotency-Key": b"caf\xe9"}
    reply = await exchange(stack, write_request("POST", f"{API_PATH}/events".encode(), headers, body))

    assert (400, "InvalidRequest") == reply.problem


async def test_a_client_key_of_an_unknown_algorithm(stack: Stack, tmp_path: Path) -> None:
    """A key whose algorithm no library here knows is refused as any other that does not fit."""
    space = await stack.api.make_space(TYPE)
    cert_pem, key_pem = Authority(tmp_path).client_certificate("client")
    der = base64.b64decode("".join(key_pem.strip().splitlines()[1:-1]))
    known, unknown = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209")
    assert known in der
    first, *_, last = key_pem.strip().splitlines()
    strange = "\n".join((first, base64.b64encode(der.replace(known, unknown, 1)).decode(), last, ""))
    delivery = {"tls_client_cert_pem": cert_pem, "tls_client_key_pem": strange}
    body = describe_subscription(space.application_id, "https://example.com/", TYPE, delivery=delivery)
    reply = await stack.api.call("POST", "/subscriptions", body, token=space.secret)

    assert (422, "Validation") == reply.problem
    assert {"tls_client_key_pem"} == reply.json["validation"]["delivery"].keys()


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def impatient(kafka: str, postgres: str, migrated_template: str) -> AsyncIterator[Stack]:
    """A gateway that gives a request a second to arrive."""
    timeout = str(REQUEST_TIMEOUT_S)
    async with run_stack(kafka, postgres, migrated_template, "gateway", GATEWAY_REQUEST_TIMEOUT_S=timeout) as running:
        yield running


@pytest.mark.parametrize("path", ["event", "events", "subscriptions", "applications", "dead_letters/redrive"])
async def test_a_body_that_drips_is_given_up(impatient: Stack, path: str) -> None:
    """RFC 9110 §15.5.9: the time is that of the whole body, so that a byte now and then does not keep it open."""
    head = write_request("POST", f"{API_PATH}/{path}".encode(), JSON | {"Content-Length": b"1000"}, b"{")
    reply = await drip(impatient, head)

    assert (408, "RequestTimeout") == reply.problem
    assert "close" == reply.headers["connection"]


async def test_a_head_that_drips_is_given_up(impatient: Stack) -> None:
    """The head of a request has the same time."""
    reply = await drip(impatient, b"GET /api/v1/errors HTTP/1.1\r\nHost: x\r\nA: ")

    assert (408, "RequestTimeout") == reply.problem
    assert "close" == reply.headers["connection"]


async def test_slow_clients_do_not_stall_others(impatient: Stack) -> None:
    """A whole request is answered at once while hundreds of others drip; afterwards none of them is open any more."""
    space = await impatient.api.make_space(TYPE)
    head = write_request("POST", f"{API_PATH}/event".encode(), JSON | {"Content-Length": b"1000"}, b"{")
    slow = [asyncio.create_task(drip(impatient, head)) for _ in range(100)]
    started_at_s = time.monotonic()
    reply = await impatient.api.call("POST", "/event", describe_event(space.application_id, TYPE), token=space.secret)
    took_s = time.monotonic() - started_at_s
    slow_answers = {(await task).problem for task in slow}

    assert 201 == reply.status
    assert {(408, "RequestTimeout")} == slow_answers
    assert took_s < 30  # the drips would go on for a minute


async def drip(stack: Stack, first: bytes) -> RawReply:
    """Send the beginning of a request, then a byte ten times a second for as long as it is listened to."""
    async with RawHttp(stack.api.url) as client:
        return await client.drip(first, b"x", every_s=0.1)


async def test_a_body_that_is_no_event_is_small(stack: Stack) -> None:
    """A form with a million values would hold up all requests; a payload in it may be as large as of an event."""
    space = await stack.api.make_space(TYPE)
    large: dict[str, Any] = {"any": [[]] * 200_000}
    small = {"path": "/n", "op": "eq", "value": 1}
    payload = json.dumps({"n": 1, "x": "y" * 600_000})
    made = describe_subscription(space.application_id, "http://example.com/", TYPE, payload_filter=large)
    subscription = await stack.api.call("POST", "/subscriptions", made, token=space.secret)
    statuses = []
    for payload_filter in (large, small):
        body = {"application_id": space.application_id, "payload_filter": payload_filter, "payload": payload}
        reply = await stack.api.call("POST", "/subscriptions/test_filter", body, token=space.secret)
        statuses.append(reply.status)

    assert (413, "JsonPayload") == subscription.problem
    assert [413, 200] == statuses
