"""Certificates and keys that owners hand in for their endpoints: can they be used as they are?"""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

PEM_MAX_CHARS = 64 * 1024


def find_tls_problems(ca_pem: str | None, cert_pem: str | None, key_pem: str | None) -> dict[str, str]:
    """Field → what is wrong with it; empty when all is well."""
    problems: dict[str, str] = {}
    for field, pem in (("tls_ca_pem", ca_pem), ("tls_client_cert_pem", cert_pem)):
        if pem is not None and _read_certificates(pem) is None:
            problems[field] = f"it must be certificates in PEM, {PEM_MAX_CHARS} characters at most"
    if key_pem is None:
        return problems
    certificates = _read_certificates(cert_pem or "")
    if certificates is None:
        problems["tls_client_key_pem"] = "a key needs its certificate beside it"
    elif not _fits(certificates[0], key_pem):
        problems["tls_client_key_pem"] = "it must be the certificate's private key in PEM, without a password"
    return problems


def _read_certificates(pem: str) -> list[x509.Certificate] | None:
    if len(pem) > PEM_MAX_CHARS:
        return None
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return None


def _fits(certificate: x509.Certificate, key_pem: str) -> bool:
    try:
        key = load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
