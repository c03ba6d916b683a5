"""docker-compose.yml fits the code.

No Docker is at hand in tests: its structure is held against Compose's specification by hand, and everything that names
something of ours against the thing itself.
"""

import re
from pathlib import PurePosixPath
from typing import Any

import pytest

from ops.compose.new_env import make_environment
from pipeline.config import list_variables, load_settings
from pipeline.core.signing.sealing import parse_keys
from tests.unit.contracts.compose import list_demanded, list_optional, read_filled_in, read_raw
from tests.unit.contracts.dockerfile import list_stages
from tests.unit.contracts.processes import PROCESSES, find_command, read_process_name
from tests.unit.contracts.repository import ROOT

COMPOSE = read_filled_in()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
FOREIGN = ("kafka", "postgres", "prometheus", "grafana", "grafana-reader")
ONCE = ("migrate", "topics")
ENDS = (*ONCE, "grafana-reader")

# Of Compose's specification, what is used here.
TOP_KEYS = {"name", "services", "volumes"}
SERVICE_KEYS = {
    "build": dict,
    "cap_drop": list,
    "command": list,
    "depends_on": dict,
    "environment": dict,
    "healthcheck": dict,
    "image": str,
    "init": bool,
    "ports": list,
    "read_only": bool,
    "restart": str,
    "security_opt": list,
    "stop_grace_period": str,
    "tmpfs": list,
    "volumes": list,
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "disable"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
RESTARTS = {"no", "always", "on-failure", "unless-stopped"}
DURATION = re.compile(r"(?:\d+h)?(?:\d+m)?(?:\d+s)?")
PORT = re.compile(r"127\.0\.0\.1:(\d+):(\d+)")
IMAGE = re.compile(r"[a-z0-9]+(?:[./_-][a-z0-9]+)*:v?\d[\w.]*")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|_URL$")

services = pytest.mark.parametrize("service", SERVICES)
own = pytest.mark.parametrize("service", [*ONCE, *PROCESSES])


def test_a_process_is_a_service() -> None:
    """Processes keep their names; besides them services are only Kafka, PostgreSQL, tasks that end, and monitoring."""
    assert {*FOREIGN, *ONCE, *PROCESSES} == set(SERVICES)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_service_runs_the_sub_command_of_its_name(process: str) -> None:
    """The command has no other word."""
    assert [process] == SERVICES[process]["command"]
    assert process == read_process_name(find_command(process))


@pytest.mark.parametrize("service", ONCE)
def test_what_runs_once_is_a_sub_command_that_ends(service: str) -> None:
    """The command begins with the service's name, and runs no process."""
    command = SERVICES[service]["command"]

    assert service == command[0]
    assert read_process_name(find_command(*command)) is None


@own
def test_the_settings_of_a_service_are_settings(service: str) -> None:
    """Known by name, within their bounds: the process would start with them."""
    environment = SERVICES[service]["environment"]

    assert set() == set(environment) - set(list_variables())
    assert load_settings(environment).kafka.partitions == 8


@own
def test_nobody_is_given_secrets_it_does_not_need(service: str) -> None:
    """The sealing key for those who seal or unseal, the database for those who speak to it, the master key for one."""
    given = {name for name in SERVICES[service]["environment"] if SECRET.search(name)}
    needed = {
        "migrate": {"HOOKLINE_DATABASE_WRITE_URL"},
        "topics": set(),
        "gateway": {
            "HOOKLINE_DATABASE_WRITE_URL",
            "HOOKLINE_SEALING_KEYS",
            "HOOKLINE_GATEWAY_MASTER_API_KEY",
            "HOOKLINE_GATEWAY_PUBLIC_URL",
        },
        "matcher": set(),
        "deliver": {"HOOKLINE_SEALING_KEYS"},
        "archive": {"HOOKLINE_DATABASE_WRITE_URL"},
    }

    assert needed[service] == given


def test_secrets_come_from_outside() -> None:
    """Every value that looks like one is a demanded variable."""
    literal = [
        f"{name}={value}"
        for service in read_raw()["services"].values()
        for name, value in service.get("environment", {}).items()
        if SECRET.search(name) and not re.search(r"\$\{\w+:[?-]", str(value))
    ]

    assert [] == literal


def test_the_environment_file_has_what_is_demanded() -> None:
    """`ops/compose/new_env.py` writes exactly these, with a key that seals."""
    environment = make_environment()

    assert list_demanded() == set(environment)
    assert 1 == len(parse_keys(environment["HOOKLINE_SEALING_KEYS"]))
    assert environment != make_environment()


def test_variables_with_a_default_are_settings() -> None:
    """A variable in the environment file sets its setting."""
    assert set() == list_optional() - set(list_variables())


def test_the_top_level_is_as_specified() -> None:
    """Only what Compose knows, and extensions."""
    assert set() == {key for key in COMPOSE if not key.startswith("x-")} - TOP_KEYS
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", COMPOSE["name"])


@services
def test_a_service_has_only_keys_that_compose_knows(service: str) -> None:
    """Every value has the type that its key demands."""
    wrong = {key: value for key, value in SERVICES[service].items() if not isinstance(value, SERVICE_KEYS.get(key, ()))}

    assert {} == wrong
    assert SERVICES[service]["restart"] in RESTARTS
    assert DURATION.fullmatch(SERVICES[service].get("stop_grace_period", ""))


@services
def test_environment_and_command_are_texts(service: str) -> None:
    """A bare number or boolean of YAML would arrive as something else than was written."""
    values = [*SERVICES[service].get("environment", {}).values(), *SERVICES[service].get("command", [])]

    assert [] == [value for value in values if not isinstance(value, str)]


@services
def test_a_service_waits_for_what_can_be_waited_for(service: str) -> None:
    """Dependencies exist; a healthy one has a health check; a completed one ends."""
    for other, how in SERVICES[service].get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        assert (how["condition"] == "service_completed_successfully") == (other in ENDS)


@services
def test_a_health_check_is_as_specified(service: str) -> None:
    """A check names its parts as Compose does, and runs a program."""
    check = SERVICES[service].get("healthcheck", {})

    assert set() == set(check) - HEALTH_KEYS
    # tasks that run once end; no service depends on Grafana
    assert check.get("disable", False) == (service in ENDS)
    assert ("test" in check) == (service not in (*ENDS, "grafana"))
    assert check.get("test", ["CMD"])[0] == "CMD"
    for key in ("interval", "timeout", "start_period"):
        assert DURATION.fullmatch(check.get(key, ""))


@services
def test_ports_are_open_to_this_machine_only(service: str) -> None:
    """Nothing here has TLS, and no port of the host is asked for twice."""
    mine = [PORT.fullmatch(port) for port in SERVICES[service].get("ports", [])]

    assert None not in mine
    host = [port.split(":")[1] for other in SERVICES.values() for port in other.get("ports", [])]
    assert sorted(set(host)) == sorted(host)


@services
def test_volumes_exist(service: str) -> None:
    """A named one is declared, a path is in the repository and read only."""
    for volume in SERVICES[service].get("volumes", []):
        source, target, *mode = volume.split(":")
        assert PurePosixPath(target).is_absolute()
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


def test_no_volume_is_left_over() -> None:
    """Each one declared is used."""
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}

    assert set(COMPOSE["volumes"]) == {source for source in used if not source.startswith("./")}


@services
def test_images_have_a_version(service: str) -> None:
    """`latest` is another one tomorrow."""
    assert IMAGE.fullmatch(SERVICES[service]["image"])


@own
def test_our_containers_may_do_little(service: str) -> None:
    """No capabilities, no way to gain any, nothing written but to memory and volumes; signals reach the process."""
    found = SERVICES[service]

    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["read_only"]
    assert found["init"]
    assert found["tmpfs"] == ["/tmp"]  # noqa: S108 - a path in the container


def test_a_process_may_finish_what_it_has_begun() -> None:
    """Docker waits longer before it kills than a process takes to stop."""
    grace_s = int(SERVICES["deliver"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > load_settings(SERVICES["deliver"]["environment"]).worker.shutdown_grace_s


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_finds_what_a_killed_one_left(process: str) -> None:
    """The run directory is in a volume, which outlives a container, and belongs to the image's user."""
    run_dir = load_settings(SERVICES[process]["environment"]).process.run_dir
    volumes = dict(volume.split(":") for volume in SERVICES[process]["volumes"])
    steps = [rest for word, rest in list_stages()[-1] if word == "RUN"]

    assert {"run": str(run_dir)} == volumes
    assert any(f"install --directory --owner hookline --group hookline --mode 0700 {run_dir}" in step for step in steps)
