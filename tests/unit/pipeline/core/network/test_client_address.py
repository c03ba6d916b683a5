from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.network.addresses import parse_networks
from pipeline.core.network.client_address import HOPS_MAX, Proxies, ProxyHeader, parse_address

OURS = parse_networks("10.0.0.0/8 fd00::/8")
BY_LIST = Proxies(networks=OURS)
BY_FORWARDED = Proxies(networks=OURS, header=ProxyHeader.FORWARDED)
PROXY = "10.0.0.7"

addresses = st.ip_addresses()
proxies = st.builds(IPv4Address, st.integers(10 << 24, (11 << 24) - 1)) | st.builds(
    IPv6Address, st.integers(0xFD << 120, (0xFE << 120) - 1)
)
strangers = addresses.filter(
    lambda address: (
        not any(address in network for network in OURS)
        and not (isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address.scope_id is not None))
    )
)
# what a client may write into the header: anything that a header can hold
inventions = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=200)


def write_forwarded(address: IPv4Address | IPv6Address) -> str:
    return f'for="[{address}]:4711";proto=https' if address.version == 6 else f"for={address};proto=https"


@given(inventions, strangers, st.lists(proxies, max_size=5))
def test_what_a_client_invents_is_not_believed(
    invented: str, client: IPv4Address | IPv6Address, path: list[IPv4Address | IPv6Address]
) -> None:
    """The client is the first address that is not our proxy's, whatever stands left of it."""
    hops = [client, *path]

    assert str(client) == BY_LIST.find_client(PROXY, [", ".join([invented, *map(str, hops)])])
    assert str(client) == BY_LIST.find_client(PROXY, [invented, *map(str, hops)])
    assert str(client) == BY_FORWARDED.find_client(PROXY, [", ".join([invented, *map(write_forwarded, hops)])])
    assert str(client) == BY_FORWARDED.find_client(PROXY, [invented, *map(write_forwarded, hops)])


@given(strangers, st.lists(inventions, max_size=5))
def test_who_is_not_our_proxy_is_the_client(peer: IPv4Address | IPv6Address, fields: list[str]) -> None:
    """Headers of a client that is not our proxy are its own inventions."""
    assert str(peer) == BY_LIST.find_client(str(peer), fields)
    assert str(peer) == BY_FORWARDED.find_client(str(peer), fields)


@given(st.lists(inventions, max_size=5))
def test_what_is_found_is_an_address(fields: list[str]) -> None:
    """Nothing in a header ends the request, or is stored as the client's address but an address."""
    for ours in (BY_LIST, BY_FORWARDED):
        found = ours.find_client(PROXY, fields)

        assert found is not None
        assert str(ip_address(found)) == found


@pytest.mark.parametrize("ours", [BY_LIST, BY_FORWARDED])
def test_without_a_header_it_is_the_proxy(ours: Proxies) -> None:
    """A health check of the balancer's own."""
    assert PROXY == ours.find_client(PROXY, [])
    assert PROXY == ours.find_client(PROXY, [""])


def test_without_proxies_headers_say_nothing() -> None:
    """The default: who is connected is the client."""
    assert "192.0.2.1" == Proxies().find_client("192.0.2.1", ["203.0.113.9"])
    assert None is Proxies().find_client(None, ["203.0.113.9"])


def test_a_client_within_our_networks_is_the_first_of_the_trail() -> None:
    """All of them are ours: the farthest is the client."""
    assert "10.1.1.1" == BY_LIST.find_client(PROXY, ["10.1.1.1, 10.2.2.2"])


def test_a_trail_without_end_is_followed_so_far() -> None:
    """The work for a header is bounded."""
    trail = [f"10.0.1.{number}" for number in range(100)]

    assert "10.0.1.68" == BY_LIST.find_client(PROXY, [", ".join(trail)])
    assert 32 == HOPS_MAX


@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ('by=10.0.0.1; for="192.0.2.43:47011"', "192.0.2.43"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=192.0.2.43, for=10.0.0.2", "192.0.2.43"),
        ('for=192.0.2.43;host="a, for=198.51.100.17"', "192.0.2.43"),
        (r'for=192.0.2.43;host="a\", for=198.51.100.17"', "192.0.2.43"),
        ("for=192.0.2.43, for=unknown", PROXY),
        ('for=192.0.2.43, for="_hidden"', PROXY),
        ("for=192.0.2.43, proto=http", PROXY),
        ('for=", for=192.0.2.43', "192.0.2.43"),
        ('for=198.51.100.17;x=", for="[2001:db8::1]:80";proto=https', "2001:db8::1"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(field: str, client: str) -> None:
    """Names in any case, values quoted or not, quotes kept together; what hides an address ends the trail."""
    assert client == BY_FORWARDED.find_client(PROXY, [field])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:443 ", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_are_read_as_proxies_write_them(text: str, address: str) -> None:
    """An address is read with a port or without; one address has one form."""
    assert ip_address(address) == parse_address(text)


@pytest.mark.parametrize("text", ["", "unknown", "_x", "192.0.2", "192.0.2.1:", "1:2", "[192.0.2.1", "host:80"])
def test_what_is_no_address_is_none(text: str) -> None:
    """The trail ends there."""
    assert None is parse_address(text)
