import base64

import pytest

from pipeline.core.network.proxy import parse_proxy


def test_reads_an_address() -> None:
    """Host and port, and no credentials where none are given."""
    proxy = parse_proxy("http://proxy.internal:4750")

    assert ("proxy.internal", 4750, None) == (proxy.host, proxy.port, proxy.authorization)
    assert 80 == parse_proxy("http://proxy.internal").port
    assert "fd00::1" == parse_proxy("http://[fd00::1]:3128").host


def test_reads_credentials_and_hides_them() -> None:
    """User and password become the header's value, percent-decoded, and are not shown with the proxy."""
    proxy = parse_proxy("http://hook%40line:p%3Aw@proxy:4750")

    expected = "Basic " + base64.b64encode(b"hook@line:p:w").decode()
    assert expected == proxy.authorization
    assert expected not in repr(proxy)


@pytest.mark.parametrize(
    "url", ["", "proxy:4750", "https://user:hunter2@proxy", "socks5://user:hunter2@proxy", "http://user:hunter2@:x/"]
)
def test_what_is_no_proxy(url: str) -> None:
    """The mistake is named without the URL, which may hold a password."""
    with pytest.raises(ValueError, match="the egress proxy's URL") as raised:
        parse_proxy(url)

    assert "hunter2" not in str(raised.value)
