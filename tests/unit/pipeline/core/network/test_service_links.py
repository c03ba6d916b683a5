"""Variables that Kubernetes puts into every container are distinguished from our settings."""

import pytest

from pipeline.config import ConfigError, load_settings
from pipeline.core.network.service_links import is_service_link, list_service_links


def links(service: str, host: str, url_host: str) -> dict[str, str]:
    """Everything a kubelet sets for a service with a port called `http` (kubelet/envvars/envvars.go)."""
    return {
        f"{service}_SERVICE_HOST": host,
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_PORT": f"tcp://{url_host}:80",
        f"{service}_PORT_80_TCP": f"tcp://{url_host}:80",
        f"{service}_PORT_80_TCP_PROTO": "tcp",
        f"{service}_PORT_80_TCP_PORT": "80",
        f"{service}_PORT_80_TCP_ADDR": host,
    }


@pytest.mark.parametrize(
    "service", ["HOOKLINE", "HOOKLINE_GATEWAY", "HOOKLINE_PROCESS_METRICS", "HOOKLINE_KAFKA_BOOTSTRAP", "HOOKLINE_2"]
)
@pytest.mark.parametrize(("host", "url_host"), [("10.96.0.17", "10.96.0.17"), ("fd00::11", "[fd00::11]")])
def test_service_links_are_no_settings(service: str, host: str, url_host: str) -> None:
    """A namespace with services of our name does not keep a process from starting, nor set anything."""
    environ = links(service, host, url_host)

    assert load_settings({}) == load_settings(environ)
    assert sorted(environ) == list_service_links(environ)


def test_settings_win() -> None:
    """A setting of the container replaces the service's variable of the same name, and is taken as it is."""
    environ = links("HOOKLINE_GATEWAY", "10.0.0.1", "10.0.0.1") | {"HOOKLINE_GATEWAY_PORT": "8081"}

    assert 8081 == load_settings(environ).gateway.port


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOOKLINE_GATEWAY_PORT", "eighty"),
        ("HOOKLINE_GATEWAY_PORT", "http://10.0.0.1:80"),
        ("HOOKLINE_GATEWAY_PORTS", "tcp://10.0.0.1:80"),
        ("HOOKLINE_GATEWAY_SERVICE_HOST", "gateway.example.com"),
        ("HOOKLINE_KAFKA_PORT", "9092"),
        ("HOOKLINE_GATEWAY_SERVICE_PORT", "http"),
        ("HOOKLINE_GATEWAY_HOSTS", "10.0.0.1"),
    ],
)
def test_mistakes_stay_errors(variable: str, value: str) -> None:
    """A name or a value that Kubernetes would not set is an operator's mistake."""
    assert not is_service_link(variable, value)
    with pytest.raises(ConfigError, match=variable):
        load_settings({variable: value})
