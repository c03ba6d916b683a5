from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.network.addresses import (
    NAT64,
    PUBLIC_ASSIGNMENTS,
    AddressRules,
    is_local_name,
    is_public,
    parse_networks,
)

ANY_V4 = st.ip_addresses(v=4)
ANY_V6 = st.ip_addresses(v=6)

FORBIDDEN = [
    # IPv4: the first and the last address of each block
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255"),
    *("127.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.255.255"),
    *("172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0", "192.0.2.255"),
    *("192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255"),
    *("198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255"),
    *("224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255"),
    # metadata services
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    *("fd00:ec2::254", "fd20:ce::254"),
    # IPv6: unspecified, loopback, unique local, link-local, site-local, multicast, discard, documentation
    *("::", "::1", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1", "febf::1", "fec0::1"),
    *("ff00::", "ff02::1", "ff0e::1", "100::1", "100:0:0:1::1", "2001:db8::1", "3fff::1", "3fff:fff::1"),
    # protocol assignments, ORCHID, benchmarks, segment routing, never assigned
    *("2001::", "2001:1::", "2001:2::1", "2001:10::1", "2001:1ff:ffff::1", "5f00::1", "4000::1", "e000::1"),
    # IPv4 inside IPv6: mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo, ISATAP
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),
    *("::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::100.64.0.1", "64:ff9b:1::8.8.8.8", "64:ff9b:0:1::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001:0:7f00:1::1", "2001:0:808:808::1"),
    *("2001:470::5efe:10.0.0.1", "2001:470::200:5efe:127.0.0.1"),
    # with a zone
    *("fe80::1%eth0", "2606:4700::1111%1", "::1%lo"),
    # no addresses at all
    *(
        "",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "1.2.3.4 ",
        "１.１.１.１",
        "[::1]",
        "1.1.1.1/32",
    ),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255"),
    *("192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("168.63.129.15", "2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2003::1", "3ffe:ffff::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:4:112::1", "2001:470::5efe:8.8.8.8"),
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public(address: str) -> None:
    """Every special range is refused to its last address, in whatever form the address is written."""
    assert not is_public(address)
    assert not AddressRules().allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    """The neighbours of the special ranges are ordinary addresses."""
    assert is_public(address)
    assert AddressRules().allows(address)


@given(ANY_V4 | ANY_V6)
def test_never_more_than_python_calls_global(address: IPv4Address | IPv6Address) -> None:
    """The standard library takes for public what we do, but for addresses that are judged by an address inside."""
    if isinstance(address, IPv6Address) and (
        address in NAT64 or address.ipv4_mapped is not None or any(address in network for network in PUBLIC_ASSIGNMENTS)
    ):
        return

    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(ANY_V4)
def test_an_address_inside_another_is_judged_alike(address: IPv4Address) -> None:
    """Mapped and behind NAT64, an IPv4 address is as public as it is by itself."""
    mapped = IPv6Address(0xFFFF << 32 | int(address))
    translated = IPv6Address(int(NAT64.network_address) | int(address))

    assert is_public(address) == is_public(mapped)
    assert is_public(address) == is_public(translated)


@given(ANY_V4)
def test_tunnels_end_nowhere(address: IPv4Address) -> None:
    """6to4, Teredo, and the old ways to write IPv4 inside IPv6 are refused whatever is inside."""
    low = int(address)
    for wrapped in (0x2002 << 112 | low << 80, 0x2001_0000 << 96 | low << 64, low, 0xFFFF_0000 << 32 | low):
        assert not is_public(IPv6Address(wrapped))


@given(st.text())
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    """Any text is refused or reads as a public address."""
    assert not is_public(text) or is_public(ip_address(text))


def test_own_networks_are_denied_always() -> None:
    """Networks of this deployment are refused even where private addresses are allowed, in any form."""
    denied = parse_networks("10.96.0.0/12 203.0.113.7 2606:4700::/32")
    strict, lenient = AddressRules(denied=denied), AddressRules(denied=denied, allows_private=True)

    for address in (
        "10.96.0.1",
        "10.111.255.255",
        "::ffff:10.96.0.1",
        "64:ff9b::10.96.0.1",
        "2002:a60:1::",
        "::10.96.0.1",
    ):
        assert not lenient.allows(address), address
    for address in ("203.0.113.7", "2606:4700::1111"):
        assert not lenient.allows(address), address
        assert not strict.allows(address), address
    for address in ("10.95.255.255", "127.0.0.1", "::1", "203.0.113.8"):
        assert lenient.allows(address), address
        assert not strict.allows(address), address
    assert strict.allows("1.1.1.1")


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "pods", "10.0.0.0/8,172.16.0.0/12", "1.2.3"])
def test_a_network_that_is_none(text: str) -> None:
    """A mistake in the list is named, and does not leave a network open silently."""
    with pytest.raises(ValueError, match="is not a network"):
        parse_networks(text)


@pytest.mark.parametrize(
    "name",
    [
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "ip6-loopback", "kafka"),
        *("printer.local", "db.internal", "metadata.google.internal", "gateway.default.svc", "router.lan", "nas.home"),
        *("a.svc.cluster.local", "a.home.arpa", "Db.Internal.", "intranet", "x.corp", "x.intranet", "x.private", "com"),
    ],
)
def test_local_names(name: str) -> None:
    """Names that only mean something inside a network are refused by their form."""
    assert is_local_name(name)


@pytest.mark.parametrize("name", ["example.com", "localhost.example.com", "internal.example.com", "svc.example.org"])
def test_names_that_are_not_local(name: str) -> None:
    """A local word within a public name says nothing."""
    assert not is_local_name(name)
