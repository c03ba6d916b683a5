"""Endpoints that make a handshake as costly as they can, beside others."""

import asyncio
import math
import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.http.client.client import HttpClient
from connectors.http.client.divided import DividedClient
from connectors.http.client.exchange import Answer
from pipeline.config import DeliverConfig
from pipeline.endpoint_tls import TlsIdentity
from tests.integration.http_client.test_tls import with_identity
from tests.support.certificates import LIFETIME
from tests.support.outbound import make_request
from tests.support.receiver import Receiver, Status

BITS = 3072  # OpenSSL takes large exponents up to this size
INTERMEDIATES = 12
HANDSHAKES = 20
TURNS_MIN = 10 * HANDSHAKES


def make_costly_key() -> rsa.RSAPrivateKey:
    """Make a key whose signatures take as long to verify as they take to make."""
    plain = rsa.generate_private_key(public_exponent=65537, key_size=BITS).private_numbers()
    p, q = plain.p, plain.q
    order = (p - 1) * (q - 1)
    exponent = next(e for e in iter(lambda: secrets.randbits(BITS - 3) | 1, 0) if math.gcd(e, order) == 1)
    d = pow(exponent, -1, order)
    public = rsa.RSAPublicNumbers(exponent, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def make_costly_server(directory: Path) -> tuple[ssl.SSLContext, TlsIdentity]:
    """Make a server with a long chain of such keys, and the authority that it leads to."""
    costly, own = make_costly_key(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    chain: list[bytes] = []
    issuer = "authority 0"
    for number in range(INTERMEDIATES + 2):
        is_leaf = number == INTERMEDIATES + 1
        name = "localhost" if is_leaf else f"authority {number}"
        key = own if is_leaf else costly
        begins_at = datetime.now(UTC) - LIFETIME
        builder = (
            x509.CertificateBuilder(serial_number=number + 1)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .not_valid_before(begins_at)
            .not_valid_after(begins_at + 2 * LIFETIME)
            .add_extension(x509.BasicConstraints(ca=not is_leaf, path_length=None), critical=True)
        )
        if is_leaf:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        chain.insert(0, builder.sign(costly, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        issuer = name
    certificates, private = directory / "chain.pem", directory / "key.pem"
    certificates.write_bytes(b"".join(chain[:-1]))
    private.write_bytes(
        own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates, private)
    return context, TlsIdentity(ca_pem=chain[-1].decode())


async def test_costly_handshakes_delay_no_one_else(tmp_path: Path) -> None:
    """The loop of the process goes on while they are computed; all are answered, and both clients end."""
    server, identity = await asyncio.to_thread(make_costly_server, tmp_path)
    config = DeliverConfig(allow_private_addresses=True, connect_timeout_s=60, total_timeout_s=60)
    client = DividedClient(lambda: HttpClient(config))
    async with Receiver(tls=server, name="localhost") as receiver, Receiver() as plain:
        receiver.script("/*", Status(200, headers=(("Connection", "close"),)))
        request = with_identity(receiver.url("/a"), identity)
        costly = asyncio.gather(*(client.send(request) for _ in range(HANDSHAKES)))
        turns = 0
        while not costly.done():
            await asyncio.sleep(0.001)
            turns += 1
        others = [await client.send(make_request(plain.url("/b"))) for _ in range(2)]
        answers = [*await costly, *others]
        client.sweep()
    client.close()

    assert [200] * (HANDSHAKES + 2) == [each.status for each in answers if isinstance(each, Answer)]
    assert turns > TURNS_MIN, f"{turns} turns of the loop"
