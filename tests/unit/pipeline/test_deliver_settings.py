import pytest

from pipeline.config import ConfigError, load_settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DENIED_NETWORKS", "10.0.0.0/8,172.16.0.0/12", "is not a network"),
        ("DENIED_NETWORKS", "10.0.0.1/8", "is not a network"),
        ("ALLOWED_PORTS", "80,443", "neither a port nor a range"),
        ("DENIED_PORTS", "99999", "neither a port nor a range"),
        ("EGRESS_PROXY_URL", "https://hook:hunter2@proxy:1", "must be http://host:port"),
        ("EGRESS_PROXY_URL", "hook:hunter2@proxy", "must be http://host:port"),
        ("LOOKUPS_MAX", "0", "greater than or equal to 8"),
    ],
)
def test_mistakes_are_found_at_the_start(name: str, value: str, said: str) -> None:
    """A list that cannot be read does not silently leave a network open; the variable is named, a password is not."""
    with pytest.raises(ConfigError) as raised:
        load_settings({f"HOOKLINE_DELIVER_{name}": value})

    assert f"HOOKLINE_DELIVER_{name}: " in str(raised.value)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_what_can_be_read_is_taken() -> None:
    """Values keep the form in which they were written."""
    deliver = load_settings(
        {
            "HOOKLINE_DELIVER_DENIED_NETWORKS": "10.96.0.0/12 fd00::/8",
            "HOOKLINE_DELIVER_ALLOWED_PORTS": "443 8000-8100",
            "HOOKLINE_DELIVER_EGRESS_PROXY_URL": "http://hook:hunter2@proxy:4750",
            "HOOKLINE_DELIVER_ALLOW_PLAIN_HTTP": "false",
        }
    ).deliver

    assert "10.96.0.0/12 fd00::/8" == deliver.denied_networks
    assert "443 8000-8100" == deliver.allowed_ports
    assert not deliver.allow_plain_http
    assert deliver.egress_proxy_url is not None
    assert "hunter2" not in repr(deliver)
