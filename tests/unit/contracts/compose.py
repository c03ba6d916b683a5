"""docker-compose.yml as Compose would read it, as far as that can be known without it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ops.compose.new_env import make_environment
from tests.unit.contracts.repository import ROOT

FILE = ROOT / "docker-compose.yml"
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_raw() -> dict[str, Any]:
    """The file before variables are filled in."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def read_filled_in() -> dict[str, Any]:
    """The file with the variables of a fresh environment file."""
    filled_in: dict[str, Any] = fill_in(read_raw(), make_environment())
    return filled_in


def fill_in(node: Any, environ: Mapping[str, str]) -> Any:
    """Replace `${NAME:?…}` and `${NAME:-…}`. Raises `KeyError` for what is demanded and missing."""
    match node:
        case str():
            return REFERENCE.sub(lambda found: _fill_in(found, environ), node)
        case list():
            return [fill_in(item, environ) for item in node]
        case dict():
            return {key: fill_in(value, environ) for key, value in node.items()}
        case _:
            return node


def list_demanded() -> set[str]:
    """The variables without which Compose refuses to start."""
    return {found[0] for found in REFERENCE.findall(FILE.read_text()) if found[1] == "?"}


def list_optional() -> set[str]:
    """The variables that have a default."""
    return {found[0] for found in REFERENCE.findall(FILE.read_text()) if found[1] != "?"}


def _fill_in(found: "re.Match[str]", environ: Mapping[str, str]) -> str:
    variable, kind, word = found.groups()
    if kind == "-":
        return environ.get(variable, word)
    return environ[variable]
