"""TLS certificates made to order: good ones, and the kinds a client has to refuse."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=1)


class Authority:
    """A certificate authority that no client trusts by default. `ca_file`: configure a client with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hookline test authority")])
        self.ca_file = directory / "ca.pem"
        ca = self._sign(self._name, self._key.public_key(), datetime.now(UTC) + LIFETIME, is_authority=True)
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def server_context(
        self,
        name: str = "localhost",
        *,
        is_expired: bool = False,
        expires_in: timedelta = LIFETIME,
        asks_for_client_certificate: bool = False,
        is_named_in_subject_only: bool = False,
    ) -> ssl.SSLContext:
        """Make the context of a server called `name`; give another name than it is reached by for a wrong one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ends_at = datetime.now(UTC) + (-LIFETIME if is_expired else expires_in)
        host = None if is_named_in_subject_only else name
        certificate = self._sign(subject, key.public_key(), ends_at, host=host)
        context = self._load(f"{name}{'-expired' if is_expired else ''}.pem", key, certificate)
        if asks_for_client_certificate:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def make_intermediate(self, directory: Path) -> "Authority":
        """Another authority that this one vouches for."""
        intermediate = Authority(directory)
        intermediate._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hookline test intermediate")])
        public_key, ends_at = intermediate._key.public_key(), datetime.now(UTC) + LIFETIME
        certificate = self._sign(intermediate._name, public_key, ends_at, is_authority=True)
        intermediate.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return intermediate

    def client_certificate(self, name: str) -> tuple[str, str]:
        """(certificate, private key) of a client, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), datetime.now(UTC) + LIFETIME)
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), _write_key(key).decode()

    def self_signed_context(self, name: str = "localhost") -> ssl.SSLContext:
        """Make the context of a server without an authority: its certificate is signed with its own key, and is no
        authority.
        """
        ends_at = datetime.now(UTC) + LIFETIME
        certificate = self._sign(self._name, self._key.public_key(), ends_at, host=name)
        return self._load(f"{name}-self-signed.pem", self._key, certificate)

    def client_context(self) -> ssl.SSLContext:
        """Make the context of a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _load(self, file_name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
        file = self._directory / file_name
        file.write_bytes(_write_key(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        ends_at: datetime,
        *,
        host: str | None = None,
        is_authority: bool = False,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends_at - 2 * LIFETIME)
            .not_valid_after(ends_at)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _write_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
