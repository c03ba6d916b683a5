import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.network.ports import ALLOWED, DENIED, PortRules, parse_ports

DEFAULT = PortRules(allowed=parse_ports(ALLOWED), denied=parse_ports(DENIED))


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 4000, 8000, 8080, 8443, 9000, 9999, 32_000, 65_535])
def test_the_webs_ports(port: int) -> None:
    """Endpoints live on 80 and 443, and on the high ports that people give their servers."""
    assert DEFAULT.allows(port)


@pytest.mark.parametrize(
    "port",
    [
        *(1, 22, 23, 25, 53, 110, 143, 445, 465, 587, 993, 1023),
        *(2181, 2375, 2379, 3306, 3389, 5432, 5672, 5900, 6379, 6443, 9042, 9092, 9200, 10_250, 11_211, 27_017),
    ],
)
def test_what_is_not_spoken_to(port: int) -> None:
    """Mail, shells, databases, brokers and control planes are none."""
    assert not DEFAULT.allows(port)


@given(st.lists(st.tuples(st.integers(1, 65_535), st.integers(1, 65_535)), max_size=5), st.integers(1, 65_535))
def test_reads_what_it_says(pairs: list[tuple[int, int]], port: int) -> None:
    """A port is in the list when it is named or within a range, ends included."""
    bounds = [(min(pair), max(pair)) for pair in pairs]
    rules = PortRules(allowed=parse_ports(" ".join(f"{first}-{last}" for first, last in bounds)), denied=())

    assert any(first <= port <= last for first, last in bounds) == rules.allows(port)


@pytest.mark.parametrize("text", ["0", "65536", "80,443", "http", "5-1", "-5", "1-2-3", "1-", "٨٠", "80-99999"])
def test_a_port_that_is_none(text: str) -> None:
    """A mistake is named, not read as something else."""
    with pytest.raises(ValueError, match="neither a port nor a range"):
        parse_ports(text)
