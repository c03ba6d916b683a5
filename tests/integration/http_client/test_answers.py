import asyncio

import pytest

from connectors.http.client.exchange import Answer, ErrorClass, Failure
from tests.integration.http_client.clients import open_client
from tests.support.eventually import eventually
from tests.support.outbound import make_request
from tests.support.receiver import FailTimes, Gone, Receiver, Redirect, Slow, Status, TooMany


async def test_an_answer_with_its_timings() -> None:
    """Status, headers, body, and how long each part took; over a kept connection there is less to wait for."""
    async with Receiver() as receiver, open_client() as client:
        receiver.script("/a", Status(202, b"taken", (("X-A", "1"), ("Set-Cookie", "a=b"))))
        first = await client.send(make_request(receiver.url("/a")))
        second = await client.send(make_request(receiver.url("/a")))

        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert (202, b"taken", None) == (first.status, first.body, first.body_problem)
        assert {"x-a": "1", "set-cookie": "(redacted)", "content-length": "5"} == first.headers
        assert {"dns", "connect", "tls", "first_byte", "total"} == first.timings_us.keys()
        assert {"first_byte", "total"} == second.timings_us.keys()
        parts_us = sum(first.timings_us[name] for name in ("dns", "connect", "tls"))
        assert parts_us <= first.timings_us["first_byte"] <= first.timings_us["total"]
        assert 1 == len({request.connection for request in receiver.requests()})
        assert [] == receiver.malformed


@pytest.mark.parametrize("method", ["GET", "PATCH", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_every_method(method: str) -> None:
    """The seven that an endpoint may have, each twice: an answer leaves nothing behind for the next one."""
    async with Receiver() as receiver, open_client() as client:
        # to a HEAD request an answer has no body
        receiver.script("/a", Status(200, b"" if method == "HEAD" else b"ok"))
        for _ in range(2):
            result = await client.send(make_request(receiver.url("/a"), method=method))
            assert isinstance(result, Answer)
            assert 200 == result.status

        assert [method, method] == [request.method for request in receiver.requests()]
        assert [] == receiver.malformed


@pytest.mark.parametrize("behaviour", [Gone(), TooMany(7), Redirect("/elsewhere"), Redirect("/a", 307), FailTimes(1)])
async def test_other_answers_are_answers(behaviour: Gone | TooMany | Redirect | FailTimes) -> None:
    """Nothing is followed and nothing is repeated: one request, one answer."""
    async with Receiver() as receiver, open_client() as client:
        receiver.script("/a", behaviour)
        result = await client.send(make_request(receiver.url("/a")))

        assert isinstance(result, Answer)
        assert result.status >= 300
        assert ["/a"] == [request.path for request in receiver.requests()]


async def test_cookies_are_not_kept() -> None:
    """A cookie that an endpoint sets is never sent, not even to the same endpoint."""
    async with Receiver() as receiver, open_client() as client:
        receiver.script("/a", Status(200, b"", (("Set-Cookie", "a=b; Path=/"),)))
        for _ in range(2):
            await client.send(make_request(receiver.url("/a")))

        assert [[], []] == [request.values("cookie") for request in receiver.requests()]


async def test_the_environment_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no certificates' key log, no credentials from a netrc."""
    async with Receiver() as receiver, Receiver() as proxy, open_client() as client:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        await client.send(make_request(receiver.url("/a")))

        assert 1 == receiver.received
        assert 0 == proxy.received
        assert [] == receiver.requests()[0].values("authorization")


async def test_identity_is_the_encoding_that_is_asked_for() -> None:
    """Nothing that would have to be unpacked."""
    async with Receiver() as receiver, open_client() as client:
        await client.send(make_request(receiver.url("/a")))

        assert "identity" == receiver.requests()[0].header("accept-encoding")


async def test_many_at_once() -> None:
    """Each has its own connection while it is on its way; afterwards a bounded number is kept."""
    async with Receiver(default=Slow(50)) as receiver, open_client(idle_connections_max=10) as client:
        results = await asyncio.gather(*(client.send(make_request(receiver.url(f"/{n}"))) for n in range(50)))

        assert [200] * 50 == [result.status for result in results if isinstance(result, Answer)]
        assert 10 == client.idle_connections
        await eventually(lambda: receiver.open_connections == 10)
        client.close()
        await eventually(lambda: receiver.open_connections == 0)


async def test_a_cancelled_request_leaves_nothing() -> None:
    """The request's connection is dropped, whether it was being dialled or waited on."""
    async with Receiver(default=Slow(60_000)) as receiver, open_client() as client:
        sending = asyncio.create_task(client.send(make_request(receiver.url("/a"))))
        await eventually(lambda: receiver.open_requests == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        assert 0 == client.idle_connections
        await eventually(lambda: receiver.open_connections == 0)


async def test_nobody_listens() -> None:
    """Refused is a failed connection, and says so."""
    async with Receiver() as receiver:
        url = receiver.url("/a")
    async with open_client() as client:
        result = await client.send(make_request(url))

        assert isinstance(result, Failure)
        assert (ErrorClass.CONNECTION, "could not connect: connection refused") == (result.error_class, result.detail)
        assert {"dns", "total"} == result.timings_us.keys()


async def test_a_large_request() -> None:
    """Three megabytes arrive byte for byte."""
    async with Receiver() as receiver, open_client(total_timeout_s=30) as client:
        request = make_request(receiver.url("/a"))
        body = bytes(range(256)) * 12_000
        head = request.head.replace(b"content-length: 7", b"content-length: %d" % len(body))
        result = await client.send(type(request)(origin=request.origin, is_head=False, head=head, body=body))

        assert isinstance(result, Answer)
        assert body == receiver.requests()[0].body


async def test_an_endpoint_may_have_its_own_time() -> None:
    """A time-out of its own goes before the deployment's, shorter or longer."""
    async with Receiver(default=Slow(700)) as receiver:
        async with open_client(total_timeout_s=30) as client:
            result = await client.send(make_request(receiver.url("/a"), total_timeout_s=0.2))
            assert isinstance(result, Failure)
            assert (ErrorClass.TIMEOUT, "no whole answer within 0.2 s") == (result.error_class, result.detail)
        async with open_client(total_timeout_s=0.2) as client:
            assert isinstance(await client.send(make_request(receiver.url("/a"), total_timeout_s=30.0)), Answer)
