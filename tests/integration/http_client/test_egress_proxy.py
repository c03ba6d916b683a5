import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from connectors.http.client.client import HttpClient
from connectors.http.client.exchange import Answer, ErrorClass, Failure, Request
from connectors.http.client.origin import Origin
from pipeline.config import DeliverConfig
from pipeline.core.network.destination import UNREACHABLE
from pipeline.endpoint_tls import TlsIdentity
from tests.integration.http_client.clients import TOTAL_TIMEOUT_S
from tests.integration.http_client.servers import listen
from tests.support.certificates import Authority
from tests.support.outbound import make_request
from tests.support.receiver import Receiver

FORBIDDEN_HOSTS = ("127.0.0.1", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254", "localhost", "db.internal")


class ConnectProxy:
    """A proxy that opens tunnels to one place, wherever it is asked to go."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.heads: list[list[str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2])
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))
        target_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    # the other direction is to end as well
    with contextlib.suppress(OSError, NotImplementedError):
        writer.write_eof()


class Names:
    """Writes down which names are looked up; knows one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def look_up(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name == "proxy.example.com":
            return ["127.0.0.1"]
        raise socket.gaierror(socket.EAI_NONAME, "unknown")


@contextlib.asynccontextmanager
async def open_client(proxy_url: str, names: Names | None = None, **settings: float) -> AsyncIterator[HttpClient]:
    """A client as in production, private addresses forbidden, but for the proxy in between."""
    config = DeliverConfig.model_validate({"egress_proxy_url": proxy_url, **settings})
    client = HttpClient(config, lookup=(names or Names()).look_up)
    try:
        yield client
    finally:
        client.close()


async def test_http_goes_through_a_tunnel() -> None:
    """Names are the proxy's to resolve; the endpoint gets the request as if there were none, and it is kept."""
    names = Names()
    async with Receiver() as receiver:
        proxy = ConnectProxy(receiver.port)
        async with listen(proxy.serve) as port, open_client(f"http://proxy.example.com:{port}", names) as client:
            for _ in range(2):
                result = await client.send(make_request("http://hooks.example.com/a?b=c"))
                assert isinstance(result, Answer)
                assert 200 == result.status

        first, second = receiver.requests()
        assert ["proxy.example.com"] == names.asked
        assert [["CONNECT hooks.example.com:80 HTTP/1.1", "Host: hooks.example.com:80"]] == proxy.heads
        assert ("/a?b=c", "hooks.example.com") == (first.target, first.header("host"))
        assert first.connection == second.connection


async def test_https_goes_through_a_tunnel(tmp_path: Path) -> None:
    """TLS is with the endpoint: its name is verified, and the proxy sees nothing."""
    authority = Authority(tmp_path)
    identity = TlsIdentity(ca_pem=authority.ca_file.read_text())
    for name, is_right in (("hooks.example.com", True), ("elsewhere.example.com", False)):
        async with Receiver(tls=authority.server_context(name)) as receiver:
            proxy = ConnectProxy(receiver.port)
            async with listen(proxy.serve) as port, open_client(f"http://127.0.0.1:{port}") as client:
                plain = make_request("https://hooks.example.com:8443/a")
                origin = Origin(True, plain.origin.host, plain.origin.port, identity)
                request = Request(origin=origin, is_head=False, head=plain.head, body=plain.body)
                result = await client.send(request)

            assert isinstance(result, Answer if is_right else Failure)
            assert is_right == (receiver.received == 1)
            assert ["CONNECT hooks.example.com:8443 HTTP/1.1", "Host: hooks.example.com:8443"] == proxy.heads[0]


async def test_credentials() -> None:
    """Only the proxy gets them."""
    async with Receiver() as receiver:
        proxy = ConnectProxy(receiver.port)
        async with listen(proxy.serve) as port:
            url = f"http://hook:hunter2@127.0.0.1:{port}"
            async with open_client(url) as client:
                result = await client.send(make_request("http://hooks.example.com/"))

        assert isinstance(result, Answer)
        assert "Proxy-Authorization: Basic aG9vazpodW50ZXIy" == proxy.heads[0][2]
        assert [] == receiver.requests()[0].values("proxy-authorization")
        assert "hunter2" not in repr(DeliverConfig.model_validate({"egress_proxy_url": url}))


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
async def test_what_a_url_shows_is_refused_by_us(host: str) -> None:
    """Addresses that are not public, and local names, do not even get to the proxy."""
    async with Receiver() as receiver:
        proxy = ConnectProxy(receiver.port)
        async with listen(proxy.serve) as port, open_client(f"http://127.0.0.1:{port}") as client:
            result = await client.send(make_request(f"http://{host}/"))

        assert isinstance(result, Failure)
        assert (ErrorClass.INVALID_TARGET, UNREACHABLE) == (result.error_class, result.detail)
        assert [] == proxy.heads


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nX-Reason: host 10.0.0.1 is denied\r\nContent-Length: 4\r\n\r\ndeny",
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=[
        "denied",
        "wrong credentials",
        "unresolved",
        "moved",
        "answers itself",
        "answers twice",
        "endless",
        "no http",
        "nothing",
    ],
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes) -> None:
    """One sentence for all its reasons, which would tell what there is inside; the operator finds the status logged."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    structlog.reset_defaults()
    with capture_logs() as logs:
        async with listen(refuse) as port, open_client(f"http://hook:hunter2@127.0.0.1:{port}") as client:
            result = await client.send(make_request("http://hooks.example.com/"))

    assert isinstance(result, Failure)
    expected = "could not connect: the egress proxy opened no tunnel"
    assert (ErrorClass.CONNECTION, expected) == (result.error_class, result.detail)
    assert {"dns", "total"} == result.timings_us.keys()
    (entry,) = logs
    assert ("egress_proxy_refused", "hooks.example.com", 80) == (entry["event"], entry["host"], entry["port"])
    assert (int(answer[9:12]) if answer.startswith(b"HTTP/1.1") else None) == entry["status"]
    assert "hunter2" not in repr(entry)


async def test_a_proxy_that_hangs() -> None:
    """The time-out for connecting covers the tunnel."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()

    async with (
        listen(hang) as port,
        open_client(f"http://127.0.0.1:{port}", connect_timeout_s=TOTAL_TIMEOUT_S) as client,
    ):
        result = await client.send(make_request("http://hooks.example.com/"))

    assert isinstance(result, Failure)
    assert (ErrorClass.CONNECTION, "no connection within 0.7 s") == (result.error_class, result.detail)


@pytest.mark.parametrize("host", ["127.0.0.1", "unknown.example.com"])
async def test_a_proxy_that_is_not_there(host: str) -> None:
    """No endpoint has failed: deliveries wait for it."""
    async with listen(ConnectProxy(0).serve) as port:
        pass
    async with open_client(f"http://{host}:{port}") as client:
        result = await client.send(make_request("http://hooks.example.com/"))

    assert isinstance(result, Failure)
    assert (ErrorClass.LOCAL, "egress proxy") == (result.error_class, result.detail)
