import ssl
from pathlib import Path

import pytest

from connectors.http.client.tls import TlsContexts
from pipeline.endpoint_tls import TlsIdentity, TlsIdentityError
from tests.support.certificates import Authority


@pytest.fixture
def identities(tmp_path: Path) -> list[TlsIdentity]:
    """Three subscriptions' own certificates."""
    authority = Authority(tmp_path)
    made = []
    for name in ("a", "b", "c"):
        certificate_pem, key_pem = authority.client_certificate(name)
        ca_pem = authority.ca_file.read_text()
        made.append(TlsIdentity(ca_pem=ca_pem, certificate_pem=certificate_pem, key_pem=key_pem))
    return made


def test_every_context_verifies(identities: list[TlsIdentity]) -> None:
    """Chain and name, TLS 1.2 and newer, HTTP/1.1; with and without own certificates."""
    contexts = TlsContexts()
    ca_only, certificate_only = (
        TlsIdentity(ca_pem=identities[0].ca_pem),
        TlsIdentity(certificate_pem=identities[0].certificate_pem, key_pem=identities[0].key_pem),
    )
    for identity in (None, ca_only, certificate_only, identities[0]):
        context = contexts.find(identity)

        assert ssl.CERT_REQUIRED == context.verify_mode
        assert context.check_hostname
        assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_an_own_authority_is_the_only_one(identities: list[TlsIdentity]) -> None:
    """The system's are not trusted beside it."""
    (authority,) = TlsContexts().find(identities[0]).get_ca_certs()

    assert ((("commonName", "Hookline test authority"),),) == authority["subject"]


def test_remembered_by_content_up_to_a_bound(identities: list[TlsIdentity]) -> None:
    """Equal certificates in another object share a context; contexts used longest ago are made again when needed."""
    contexts = TlsContexts(contexts_max=2)
    first, second, third = identities
    made = [contexts.find(first), contexts.find(second)]
    copy = TlsIdentity(ca_pem=first.ca_pem, certificate_pem=first.certificate_pem, key_pem=first.key_pem)

    assert made[0] is contexts.find(copy)
    contexts.find(third)
    assert made[0] is contexts.find(first)
    assert made[1] is not contexts.find(second)
    assert contexts.find(None) is contexts.find(None)


def test_what_cannot_be_used_is_not_remembered(identities: list[TlsIdentity]) -> None:
    """A bad certificate does not push out good ones either."""
    contexts = TlsContexts(contexts_max=1)
    context = contexts.find(identities[0])
    for _ in range(2):
        with pytest.raises(TlsIdentityError):
            contexts.find(TlsIdentity(ca_pem="junk"))

    assert context is contexts.find(identities[0])


def test_the_key_is_not_shown(identities: list[TlsIdentity]) -> None:
    """Nothing that prints an origin prints the key in it."""
    assert "PRIVATE KEY" not in repr(identities[0])
