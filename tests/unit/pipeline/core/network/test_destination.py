from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.network.addresses import (
    FORBIDDEN_V4,
    FORBIDDEN_V6,
    NAT64,
    PUBLIC_ASSIGNMENTS,
    AddressRules,
    parse_networks,
)
from pipeline.core.network.destination import (
    UNREACHABLE,
    Destination,
    DestinationError,
    DestinationRules,
    parse_destination,
)
from pipeline.core.network.ports import ALLOWED, DENIED, PortRules, parse_ports

PORTS = PortRules(allowed=parse_ports(ALLOWED), denied=parse_ports(DENIED))
STRICT = DestinationRules(addresses=AddressRules(), ports=PORTS)


def find_problem(url: str, rules: DestinationRules = STRICT) -> str | None:
    destination = parse_destination(url)
    return rules.find_problem(is_tls=destination.is_tls, host=destination.host, port=destination.port)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://example.com", "example.com", "/"),
        ("HTTPS://Example.COM:443/a/../b?c=d#e", "example.com", "/b?c=d"),
        ("http://example.com:8080/", "example.com:8080", "/"),
        ("https://example.com.:8443/x", "example.com:8443", "/x"),
        ("https://münchen.de/ü?q=ü", "xn--mnchen-3ya.de", "/%C3%BC?q=%C3%BC"),
        ("https://[2606:4700:0:0::1111]/", "[2606:4700::1111]", "/"),
        ("http://1.1.1.1:80?a", "1.1.1.1", "/?a"),
        ("https://my_host.example.com/%0d%0aX:%20y", "my_host.example.com", "/%0d%0aX:%20y"),
        ("https://example.com/a b", "example.com", "/a%20b"),
        ("https://example.com/?@internal.host/", "example.com", "/?@internal.host/"),
        ("https://example.com#@internal.host/", "example.com", "/"),
        # percent-encodings and reserved characters stay as they were given: URLs are signed, and keys stand in them
        ("https://example.com/a%2Fb/%7Ec;d=1?a=%2F&b=%2f+c", "example.com", "/a%2Fb/%7Ec;d=1?a=%2F&b=%2f+c"),
        ("https://example.com/?sig=a%3D%3D&x=[1]&y={z}&q=a|b", "example.com", "/?sig=a%3D%3D&x=[1]&y={z}&q=a|b"),
        ("https://example.com/%", "example.com", "/%"),
        ("http:example.com", "example.com", "/"),
        ("http:///example.com/path", "example.com", "/path"),
        ("http://a%2ecom/", "a.com", "/"),
        ("http://example.com\\@127.0.0.1/", "example.com", "/@127.0.0.1/"),
        ("http://exa\tmple.com/", "example.com", "/"),
        ("http://example.com/\r\nX: y", "example.com", "/X:%20y"),
    ],
)
def test_reads(url: str, authority: str, path: str) -> None:
    """Host header and request target come out in their one normal form."""
    destination = parse_destination(url)

    assert authority == destination.authority
    assert path == destination.path
    assert find_problem(url) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        # decimal, octal, hexadecimal, short, mixed, with a dot at the end
        *[(host, "127.0.0.1") for host in ("2130706433", "017700000001", "0x7f000001", "0x7F.1", "127.1", "127.0.1")],
        *[(host, "127.0.0.1") for host in ("0177.0.0.1", "0177.0.0.01", "0x7f.0x0.0x0.0x1", "127.0.0.1.", "127.1.")],
        *[(host, "0.0.0.0") for host in ("0", "0x", "00", "0.0", "0x0.0x0")],
        ("169.254.43518", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("10.1", "10.0.0.1"),
        # percent-encoded, with characters that are not seen, before what looks like a name
        *[(host, "127.0.0.1") for host in ("%31%32%37.0.0.1", "\u00ad127.0.0.1", "127.0.0.1\u200b")],
        ("127.0.0.1\\.example.com", "127.0.0.1"),
        # digits and dots of other scripts
        *[(host, "127.0.0.1") for host in ("１２７.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "𝟏𝟐𝟕.𝟎.𝟎.𝟏")],
        # IPv6, written unusually
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[0000:0000:0000:0000:0000:0000:0000:0001]", "::1"),
        ("[::ffff:127.0.0.1]", "::ffff:7f00:1"),
        ("[0:0:0:0:0:FFFF:7F00:0001]", "::ffff:7f00:1"),
        ("[::127.0.0.1]", "::7f00:1"),
        ("[64:ff9b::169.254.169.254]", "64:ff9b::a9fe:a9fe"),
        ("[FD00:EC2::254]", "fd00:ec2::254"),
        ("[FE80::1]", "fe80::1"),
    ],
)
def test_an_address_in_disguise_is_an_address(host: str, address: str) -> None:
    """A disguise is read as the address it means, once, and refused as that address."""
    destination = parse_destination(f"http://{host}/")

    assert destination.is_address
    assert ip_address(address) == ip_address(destination.host)
    assert find_problem(f"http://{host}/") == UNREACHABLE


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            "ⓛocalhost",
            "ｌocalhost",
            "kubernetes",
            "a.localhost",
            "db.internal",
        ),
        *("printer。local", "db．internal", "kafka｡default｡svc", "LOCALHOST.LOCALDOMAIN"),
        *("-1", "metadata.google.internal", "metadata.google.internal.", "printer.local", "kafka.default.svc", "x.lan"),
    ],
)
def test_a_local_name_is_refused(host: str) -> None:
    """The refusal has the same words as for an address that is not public."""
    assert find_problem(f"http://{host}/") == UNREACHABLE


@pytest.mark.parametrize(
    "url",
    [
        *("", "/", "//example.com/", "example.com", "mailto:a@example.com", "file:///etc/passwd", "ftp://example.com/"),
        *("gopher://example.com/", "javascript:alert(1)", "unix:/run/docker.sock", "https://", "http:///"),
        # userinfo
        *("http://user@example.com/", "http://user:password@example.com/", "http://:password@example.com/"),
        *("http://127.0.0.1@example.com/", "http://example.com@127.0.0.1/", "http://a@b@c/"),
        # hosts that are none
        *("http://./", "http://a..b/", "http://.a.com/", "http://a.com../", "http://exa mple.com/", "http://a,b.com/"),
        *("http://a%00b.com/", "http://example.com%2f@127.0.0.1/", "http://xn--/", "http://a.xn--pokxncvks/"),
        *(f"http://{'a' * 64}.com/", f"http://{'a.' * 130}com/", "http://*.example.com/", "http://a$b.com/"),
        "http://a\x00.com/",
        # neither a name nor a valid address
        *(
            "http://256.256.256.256/",
            "http://1.2.3.4.5/",
            "http://127.0.0.08/",
            "http://4294967296/",
        ),
        *("http://0x100000000/", "http://a.1/", "http://1.256.1/", "http://example.0x7f/"),
        *("http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1/", "http://[::1]x/", "http://[1::2::3]/"),
        *("http://[::ffff:127.0.0.256]/", "http://[]/", "http://[::12345]/"),
        # ports
        *("http://example.com:0/", "http://example.com:65536/", "http://example.com:-1/", "http://example.com:80a/"),
    ],
)
def test_what_cannot_be_read_is_refused(url: str) -> None:
    """A URL has one reading, or none: nothing is guessed."""
    with pytest.raises(DestinationError, match="the URL"):
        parse_destination(url)


@given(
    st.text() | st.text(st.sampled_from("htps:/.@[]%#?\\0123456789abcdefx１。①\t\r\n-_ ")).map(lambda t: "http://" + t)
)
def test_whatever_the_text_the_reading_is_safe(text: str) -> None:
    """Nothing but the one error comes out, and what is read cannot break out of the request's head."""
    try:
        destination = parse_destination(text)
    except DestinationError:
        return

    assert destination.authority.isascii()
    assert destination.authority.isprintable()
    assert " " not in destination.authority + destination.path
    assert destination.path.isascii()
    assert destination.path.isprintable()
    # and read again, it is the same
    scheme = "https" if destination.is_tls else "http"
    assert destination == parse_destination(f"{scheme}://{destination.authority}{destination.path}")


@given(st.ip_addresses(v=4), st.sampled_from(["{:d}", "{:#x}", "0{:o}"]), st.integers(1, 4))
def test_every_notation_of_an_ipv4_address(address: IPv4Address, form: str, count: int) -> None:
    """An address has one to four numbers, each decimal, octal or hexadecimal."""
    packed = address.packed
    numbers = [*packed[: count - 1], int.from_bytes(packed[count - 1 :], "big")]
    # `0` in front of an octal number, also when it is nothing but zero
    host = ".".join(form.format(number) for number in numbers)

    assert str(address) == parse_destination(f"http://{host}/").host


@given(st.ip_addresses(v=6))
def test_every_ipv6_address(address: IPv6Address) -> None:
    """Written out or short, it is the same."""
    expected = Destination(is_tls=True, host=str(address), is_address=True, port=443, path="/")

    assert expected == parse_destination(f"https://[{address.exploded.upper()}]/")
    assert expected == parse_destination(f"https://[{address}]/")


FULL_WIDTH = {ord(digit): chr(0xFF10 + int(digit)) for digit in "0123456789"}
# Of a.b.c.d, and of the one number that it is.
NOTATIONS_V4 = st.sampled_from(
    [
        lambda a, b, c, d, _: f"{a}.{b}.{c}.{d}",
        lambda a, b, c, d, _: f"{a}.{b}.{c}.{d}.",
        lambda a, b, c, d, _: f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        lambda a, b, c, d, _: f"{a:#x}.{b:#X}.{c:#x}.{d:#x}",
        lambda a, b, c, d, _: f"{a}.{b}.{c << 8 | d}",
        lambda a, b, c, d, _: f"{a:#x}.{b << 16 | c << 8 | d}",
        lambda a, b, c, d, number: f"{number}",
        lambda a, b, c, d, number: f"0{number:o}.",
        lambda a, b, c, d, number: f"{number:#x}",
        lambda a, b, c, d, _: f"{a}。{b}．{c}｡{d}",
        lambda a, b, c, d, _: f"{a}.{b}.{c}.{d}".translate(FULL_WIDTH),
    ]
)
# Mapped, compatible, translated, NAT64 and its local form, 6to4, Teredo's server and client, ISATAP.
WRAPPINGS_V6 = st.sampled_from(
    [
        lambda low: 0xFFFF << 32 | low,
        lambda low: low,
        lambda low: 0xFFFF << 48 | low,
        lambda low: 0x64FF9B << 96 | low,
        lambda low: 0x64FF9B0001 << 80 | low,
        lambda low: 0x2002 << 112 | low << 80,
        lambda low: 0x20010000 << 96 | low << 64,
        lambda low: 0x20010000 << 96 | low ^ 0xFFFFFFFF,
        lambda low: 0x20010470 << 96 | 0x5EFE << 32 | low,
        lambda low: 0x20010470 << 96 | 0x02005EFE << 32 | low,
    ]
)
FORBIDDEN_V4_ADDRESSES = st.sampled_from(FORBIDDEN_V4).flatmap(lambda network: st.ip_addresses(network=network))


@given(FORBIDDEN_V4_ADDRESSES, NOTATIONS_V4)
def test_no_notation_hides_a_special_address(address: IPv4Address, write: Callable[..., str]) -> None:
    """Every special range of IPv4, in every way to write it in a URL."""
    assert find_problem(f"http://{write(*address.packed, int(address))}/") == UNREACHABLE


@given(FORBIDDEN_V4_ADDRESSES, WRAPPINGS_V6)
def test_no_wrapping_hides_a_special_address(address: IPv4Address, wrap: Callable[[int], int]) -> None:
    """Special addresses inside an IPv6 address are refused, in every way that leads there."""
    wrapped = IPv6Address(wrap(int(address)))

    assert find_problem(f"http://[{wrapped}]/") == UNREACHABLE
    assert find_problem(f"http://[{wrapped.exploded}]/") == UNREACHABLE


OUTSIDE_V6 = parse_networks("::/8 fc00::/7 fe80::/10 fec0::/10 ff00::/8 100::/64 5f00::/16")


@given(st.sampled_from([*FORBIDDEN_V6, *OUTSIDE_V6]).flatmap(lambda network: st.ip_addresses(network=network)))
def test_special_addresses_of_ipv6(address: IPv6Address) -> None:
    """Every special range of IPv6, anywhere in it, but for what is assigned or judged by the address inside."""
    assume(not any(address in network for network in (*PUBLIC_ASSIGNMENTS, NAT64)) and address.ipv4_mapped is None)

    assert find_problem(f"https://[{address}]/") == UNREACHABLE


def test_plain_http_can_be_forbidden() -> None:
    """Deliveries go only to https then."""
    rules = DestinationRules(addresses=AddressRules(), ports=PORTS, allows_plain_http=False)

    assert find_problem("http://example.com/", rules) == "the URL must start with https://"
    assert find_problem("https://example.com/", rules) is None


def test_ports_are_checked() -> None:
    """A port that is not allowed is named: that is no secret."""
    assert find_problem("https://example.com:6379/") == "port 6379 is not one that deliveries may go to"
    assert find_problem("https://example.com:22/") == "port 22 is not one that deliveries may go to"


def test_trying_and_testing() -> None:
    """Where private addresses are allowed, so are local names and all ports; but not the networks that are denied."""
    rules = DestinationRules(
        addresses=AddressRules(allows_private=True, denied=parse_networks("10.0.0.0/8")), ports=PORTS
    )

    for url in ("http://localhost:6379/", "http://127.0.0.1:22/", "http://[::1]:81/", "http://receiver/"):
        assert find_problem(url, rules) is None, url
    assert find_problem("http://10.1/", rules) == UNREACHABLE
