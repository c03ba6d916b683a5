"""The image: built from what is there, with pinned packages, not running as root."""

import json
import re
import tomllib

from pipeline.config import load_settings
from tests.unit.contracts.dockerfile import IGNORE_FILE, list_copied, list_stages, read_environment, read_instructions
from tests.unit.contracts.repository import ROOT, list_files, name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_only_what_exists_is_copied() -> None:
    """Every source is a file or folder of the repository."""
    assert [] == [source for source in list_copied() if not (ROOT / source).exists()]


def test_what_is_copied_is_sent_to_the_build_and_nothing_else() -> None:
    """The ignore file lets in what the Dockerfile copies."""
    allowed = [line[1:] for line in IGNORE_FILE.read_text().split("\n") if line.startswith("!")]

    assert sorted(list_copied()) == sorted(allowed)


def test_the_packages_are_those_of_the_project() -> None:
    """The folders that are copied are the ones that the wheel is made of."""
    roots = {pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}

    assert roots <= set(list_copied())
    assert PROJECT["project"]["readme"] in list_copied()
    assert set(PROJECT["project"]["license-files"]) <= set(list_copied())


def test_every_package_is_installed_by_hash() -> None:
    """Everything that is fetched has a hash; our own wheel is installed without looking anywhere."""
    steps = [step for word, rest in read_instructions() if word == "RUN" for step in rest.split("&&")]
    installs = [step for step in steps if "pip install" in step]

    assert installs
    assert [] == [step for step in installs if not ("--require-hashes" in step or "--no-index" in step)]


def test_what_builds_is_pinned_as_everywhere() -> None:
    """The build's own requirements are lines of requirements/dev.txt."""
    pinned = (ROOT / "requirements/dev.txt").read_text().split("\n")
    lines = [line for line in (ROOT / "ops/docker/build.txt").read_text().split("\n") if line]

    assert [] == [line for line in lines if line not in pinned]


def test_the_embedded_services_stay_out() -> None:
    """Embedded services are for trying and testing; an image has no use for a Java runtime."""
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE))
    embedded = {re.split(r"[<>=]", text)[0] for text in PROJECT["project"]["optional-dependencies"]["embedded"]}

    assert set() == pinned & embedded
    assert [] == [rest for _, rest in read_instructions() if "[embedded]" in rest]


def test_it_does_not_run_as_root() -> None:
    """The last stage ends as a user with a number, which is not nought."""
    users = [rest for word, rest in list_stages()[-1] if word == "USER"]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_it_runs_our_command() -> None:
    """The entry point is the script that the package installs, and there is one to say what it can do."""
    (entry,) = (json.loads(rest) for word, rest in list_stages()[-1] if word == "ENTRYPOINT")

    assert entry[0] in PROJECT["project"]["scripts"]


def test_its_settings_are_settings() -> None:
    """The settings that the health check and the exposed ports rely on are among them."""
    settings = load_settings({key: value for key, value in read_environment().items() if key.startswith("HOOKLINE_")})
    text = {word: rest for word, rest in list_stages()[-1] if word in ("EXPOSE", "HEALTHCHECK")}

    assert f"{settings.gateway.port} {settings.process.metrics_port}" == text["EXPOSE"]
    assert f"http://127.0.0.1:{settings.process.metrics_port}/health" in text["HEALTHCHECK"]


def test_every_stage_has_a_python_that_the_project_takes() -> None:
    """All stages have the same one: a virtual environment is carried over."""
    images = {rest.split()[0] for word, rest in read_instructions() if word == "FROM"}
    (image,) = images
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim-\w+", image)

    assert found is not None
    assert PROJECT["project"]["requires-python"] == f">={found.group(1)}.{found.group(2)}"


def test_no_other_dockerfile_is_forgotten() -> None:
    """One image for all processes."""
    assert ["ops/docker/Dockerfile"] == [name(path) for path in list_files() if path.name == "Dockerfile"]
