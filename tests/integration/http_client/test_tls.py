import asyncio
import ssl
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from connectors.http.client.exchange import Answer, ErrorClass, Failure, Request, Result
from pipeline.endpoint_tls import TlsIdentity
from tests.integration.http_client.clients import TOTAL_TIMEOUT_S, open_client
from tests.integration.http_client.servers import listen, shake_hands
from tests.support.certificates import LIFETIME, Authority
from tests.support.eventually import eventually
from tests.support.outbound import make_request
from tests.support.receiver import EndlessBody, Receiver, Reset, Status


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Only clients configured with it trust it."""
    return Authority(tmp_path)


def with_identity(url: str, identity: TlsIdentity) -> Request:
    request = make_request(url)
    origin = type(request.origin)(True, request.origin.host, request.origin.port, identity)
    return Request(origin=origin, is_head=False, head=request.head, body=request.body)


def trust(authority: Authority) -> TlsIdentity:
    return TlsIdentity(ca_pem=authority.ca_file.read_text())


def as_failure(result: Result) -> Failure:
    assert isinstance(result, Failure)
    assert ErrorClass.CONNECTION == result.error_class
    return result


async def send_to(tls: ssl.SSLContext, identity: TlsIdentity | None, *, name: str = "localhost") -> Result:
    """One request to a server with this context; nothing reaches it unless there is an answer."""
    async with Receiver(tls=tls, name=name) as receiver, open_client() as client:
        request = make_request(receiver.url("/a"))
        result = await client.send(request if identity is None else with_identity(receiver.url("/a"), identity))
        assert receiver.received == isinstance(result, Answer)
        return result


async def test_a_subscriptions_own_authority(authority: Authority) -> None:
    """The endpoint is believed with that authority; the connection is kept, the handshake's time is written down."""
    async with Receiver(tls=authority.server_context(), name="localhost") as receiver, open_client() as client:
        receiver.script("/a", Status(200, b"ok"))
        first, second = [await client.send(with_identity(receiver.url("/a"), trust(authority))) for _ in range(2)]

        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert first.timings_us["tls"] > 0
        assert "tls" not in second.timings_us
        assert first.certificate is not None
        assert abs(first.certificate.expires_at_us / 1_000_000 - time.time() - LIFETIME.total_seconds()) < 60
        life_us = first.certificate.expires_at_us - first.certificate.begins_at_us
        assert 2 * LIFETIME.total_seconds() * 1_000_000 == life_us
        assert None is second.certificate, "what is shown once is looked at once"
        assert 1 == len({request.connection for request in receiver.requests()})


async def test_a_common_name_is_no_name(authority: Authority) -> None:
    """RFC 9110, section 4.3.4: only alternative names say who a server is."""
    tls = authority.server_context("localhost", is_named_in_subject_only=True)
    failure = as_failure(await send_to(tls, trust(authority)))

    assert "hostname mismatch" in failure.detail


async def test_an_intermediate_is_authority_enough(authority: Authority, tmp_path: Path) -> None:
    """RFC 5280, section 6.1.1: the trust anchor is what it is said to be, be it signed by another or not."""
    (tmp_path / "intermediate").mkdir()
    intermediate = authority.make_intermediate(tmp_path / "intermediate")
    answer = await send_to(intermediate.server_context(), trust(intermediate))
    stranger = await send_to(authority.server_context(), trust(intermediate))

    assert isinstance(answer, Answer)
    as_failure(stranger)


@pytest.mark.parametrize(
    ("host", "is_expired", "detail"),
    [
        ("localhost", True, "certificate has expired"),
        ("elsewhere.example.com", False, "hostname mismatch"),
    ],
)
async def test_certificates_that_are_not_valid(authority: Authority, host: str, is_expired: bool, detail: str) -> None:
    """Expired, or for another host; the trusted authority does not help."""
    tls = authority.server_context(host, is_expired=is_expired)
    failure = as_failure(await send_to(tls, trust(authority)))

    assert failure.detail.startswith("the endpoint's certificate is not valid: ")
    assert detail in failure.detail


@pytest.mark.parametrize("is_named", [False, True])
async def test_an_authority_that_is_not_trusted(authority: Authority, tmp_path: Path, is_named: bool) -> None:
    """The authority is not the system's, or not the one that the subscription named."""
    (tmp_path / "other").mkdir()
    identity = trust(Authority(tmp_path / "other")) if is_named else None
    failure = as_failure(await send_to(authority.server_context(), identity))

    assert failure.detail.startswith("the endpoint's certificate is not valid: ")
    assert {"dns", "connect", "total"} == failure.timings_us.keys()


async def test_a_certificate_that_signed_itself(authority: Authority) -> None:
    """No authority has signed it."""
    failure = as_failure(await send_to(authority.self_signed_context(), None))

    assert "the endpoint's certificate is not valid: self-signed certificate" == failure.detail


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_that_are_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    """1.2 and 1.3."""
    tls = authority.server_context()
    tls.minimum_version = tls.maximum_version = version

    assert isinstance(await send_to(tls, trust(authority)), Answer)


async def test_versions_that_are_not_spoken(authority: Authority) -> None:
    """1.1 and older, even if that is all the endpoint has."""
    tls = authority.server_context()
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="deprecated"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    failure = as_failure(await send_to(tls, trust(authority)))

    assert failure.detail.startswith("TLS failed: ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate(authority: Authority, version: ssl.TLSVersion) -> None:
    """Shown to an endpoint that asks for it; without one, the failure says what was missing."""
    certificate_pem, key_pem = authority.client_certificate("hookline")
    tls = authority.server_context(asks_for_client_certificate=True)
    tls.minimum_version = tls.maximum_version = version
    with_it = TlsIdentity(ca_pem=trust(authority).ca_pem, certificate_pem=certificate_pem, key_pem=key_pem)

    assert isinstance(await send_to(tls, with_it), Answer)
    with shake_hands(tls) as port:
        async with open_client() as client:
            failure = as_failure(await client.send(with_identity(f"https://localhost:{port}/", trust(authority))))
    assert failure.detail.startswith("TLS failed: ")
    # in 1.2 it is one alert for this and for other failures; in 1.3 it comes after the handshake, as the answer
    if version is ssl.TLSVersion.TLSv1_3:
        assert "TLS failed: the endpoint asks for a client certificate" == failure.detail


async def test_connections_are_not_shared_between_identities(authority: Authority) -> None:
    """Each subscription's certificate has connections of its own, also to the same endpoint."""
    certificates = [authority.client_certificate(name) for name in ("a", "b")]
    ca_pem = trust(authority).ca_pem
    identities = [
        TlsIdentity(ca_pem=ca_pem, certificate_pem=certificate_pem, key_pem=key_pem)
        for certificate_pem, key_pem in certificates
    ]
    tls = authority.server_context(asks_for_client_certificate=True)
    async with Receiver(tls=tls, name="localhost") as receiver, open_client() as client:
        for identity in (*identities, *identities):
            assert isinstance(await client.send(with_identity(receiver.url("/a"), identity)), Answer)

        first, second, third, fourth = [request.connection for request in receiver.requests()]
        assert (first, second) == (third, fourth)
        assert first != second


@pytest.mark.parametrize("broken", ["ca", "certificate", "key", "other key", "encrypted key", "no key"])
async def test_certificates_of_our_own_that_cannot_be_used(authority: Authority, broken: str) -> None:
    """The subscription is wrong, not the endpoint; no prompt asks for the password of a key."""
    certificate_pem, key_pem = authority.client_certificate("hookline")
    encrypted = serialization.load_pem_private_key(key_pem.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    ca_pem = "junk" if broken == "ca" else trust(authority).ca_pem
    keys: dict[str, str | None] = {
        "key": "junk",
        "other key": authority.client_certificate("other")[1],
        "encrypted key": encrypted.decode(),
        "no key": None,
    }
    identity = TlsIdentity(
        ca_pem=ca_pem,
        certificate_pem="junk" if broken == "certificate" else certificate_pem,
        key_pem=keys.get(broken, key_pem),
    )
    result = await send_to(authority.server_context(), identity)

    assert isinstance(result, Failure)
    assert ErrorClass.INVALID_TARGET == result.error_class
    expected = (
        "the subscription's CA certificate cannot be read"
        if broken == "ca"
        else "the subscription's client certificate or its key cannot be used"
    )
    assert expected == result.detail


async def test_a_handshake_that_stalls() -> None:
    """The connection is there, and nothing comes: the time-out for connecting holds for the handshake too."""
    reached = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()

    async with listen(stall) as port, open_client(connect_timeout_s=TOTAL_TIMEOUT_S) as client:
        failure = as_failure(await client.send(make_request(f"https://localhost:{port}/")))

        assert "no TLS handshake within 0.7 s" == failure.detail
        assert reached.is_set()
        assert {"dns", "connect", "total"} == failure.timings_us.keys()

    async with listen(stall) as port, open_client(total_timeout_s=TOTAL_TIMEOUT_S) as client:
        result = await client.send(make_request(f"https://localhost:{port}/"))

        assert isinstance(result, Failure)
        assert ErrorClass.TIMEOUT == result.error_class


@pytest.mark.parametrize("sent", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 1000, b""])
async def test_an_endpoint_that_speaks_no_tls(sent: bytes) -> None:
    """Plain text, nonsense, or an end where a handshake belongs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(sent)

    async with listen(answer) as port, open_client() as client:
        failure = as_failure(await client.send(make_request(f"https://localhost:{port}/")))

        assert failure.detail.startswith("TLS failed: ")
        assert len(failure.detail) < 100


@pytest.mark.parametrize("behaviour", [EndlessBody(), Reset("head"), Reset("body")])
async def test_hostile_behind_tls(authority: Authority, behaviour: EndlessBody | Reset) -> None:
    """The bounds hold there as well, and the connection is gone at once."""
    tls = authority.server_context()
    async with Receiver(tls=tls, name="localhost", default=behaviour) as receiver, open_client() as client:
        result = await client.send(with_identity(receiver.url("/a"), trust(authority)))

        assert isinstance(result, Failure if behaviour == Reset("head") else Answer)
        assert isinstance(result, Failure) or len(result.body) <= 16 * 1024
        assert 0 == client.idle_connections
        await eventually(lambda: receiver.open_connections == 0)
        assert receiver.sent_bytes("/a") < 8 * 1024 * 1024


async def test_no_switch_and_no_key_log(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE does not make us write down the keys of our connections."""
    key_log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))

    assert isinstance(await send_to(authority.server_context(), trust(authority)), Answer)
    assert not key_log.exists()
