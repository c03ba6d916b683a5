"""Deliver can load every certificate that the API accepts: both ask `pipeline.endpoint_tls`."""

from pathlib import Path

import pytest

from pipeline.endpoint_tls import TlsIdentity, build_context
from pipeline.gateway.control.tls import find_tls_problems
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


AROUND = ["# Müller CA\n{}", "{}\n\ud83d\udd12", "\ufeff{}", "subject=CN = x\n{}\n\n", "\r\n{}", "{0}{0}", "\x00{}"]


@pytest.mark.parametrize("around", AROUND, ids=ascii)
def test_text_around_certificates_is_left_out(authority: Authority, around: str) -> None:
    """GatewayParts write comments there (`openssl s_client`, `curl`): accepted, and then loaded."""
    certificate, key = authority.client_certificate("a")
    ca_pem, certificate_pem = around.format(authority.ca_file.read_text()), certificate

    assert {} == find_tls_problems(ca_pem, certificate_pem, key)
    identity = TlsIdentity(ca_pem=ca_pem, certificate_pem=certificate_pem, key_pem=key)
    assert 1 == len(build_context(identity).get_ca_certs())


JUNK = [
    "",
    "nonsense",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    "-----BEGIN CERTIFICATE-----\nMüller\n-----END CERTIFICATE-----",
    "-----BEGIN CERTIFICATE-----",
    "\ud800",
]


@pytest.mark.parametrize("pem", JUNK, ids=ascii)
def test_junk_is_refused(authority: Authority, pem: str) -> None:
    """Junk is refused as a CA, as a certificate, and as a key."""
    certificate, key = authority.client_certificate("a")

    assert {"tls_ca_pem"} == find_tls_problems(pem, None, None).keys()
    assert {"tls_client_cert_pem"} == find_tls_problems(None, pem, key).keys()
    assert {"tls_client_key_pem"} == find_tls_problems(None, certificate, pem).keys()


def test_what_is_accepted_can_be_loaded(authority: Authority) -> None:
    """One certificate good and one broken: whatever the API says, it is what the loading says."""
    good = authority.ca_file.read_text()
    for ca_pem in (good + JUNK[2], JUNK[2] + good, good[:-40], good.replace("\n", "\r\n"), good.upper()):
        is_accepted = not find_tls_problems(ca_pem, None, None)
        try:
            build_context(TlsIdentity(ca_pem=ca_pem))
            is_loaded = True
        except ValueError:
            is_loaded = False

        assert is_loaded == is_accepted


def test_a_private_key_among_certificates_is_refused(authority: Authority) -> None:
    """The key would be kept and shown in clear."""
    certificate, key = authority.client_certificate("a")

    assert {"tls_ca_pem"} == find_tls_problems(certificate + key, None, None).keys()
    assert {"tls_client_cert_pem"} == find_tls_problems(None, certificate + key, key).keys()


def test_names_are_never_the_common_name() -> None:
    """RFC 9110, section 4.3.4."""
    assert not build_context(None).hostname_checks_common_name
