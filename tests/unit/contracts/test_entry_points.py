"""The ways in: `make`, `.ci/run`, the hooks. They call each other by names that exist."""

import os
import re
import tomllib

import yaml

from tests.unit.contracts.repository import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
CI = ROOT / ".ci/run"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())


def test_every_target_is_listed_by_help() -> None:
    """`make help` finds a target by the sentence behind it; none has a file of its name."""
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    explained = set(re.findall(r"^([a-z]+):.*?## \S", MAKEFILE, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)

    assert targets == explained
    assert targets == set(phony.split())


def test_ci_is_a_program() -> None:
    """The file is run as it is, and stops at the first failure."""
    text = CI.read_text()

    assert os.access(CI, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text


def test_ci_checks_and_ends_with_the_tests() -> None:
    """CI runs the targets that people use; the tests come last, so that their closing line is the last one."""
    lines = [line for line in CI.read_text().strip().split("\n") if line.startswith("make ")]

    assert ["make lint", "make test 2>/dev/null"] == lines
    assert CI.read_text().strip().endswith(lines[-1])


def test_ci_checks_all_that_check_does() -> None:
    """`make check` is `make lint` and the unit tests, which `make test` runs as well: they run once."""
    (parts,) = re.findall(r"^check: (.*?) ##", MAKEFILE, re.MULTILINE)
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]

    assert ["lint", "unit"] == parts.split()
    assert "tests/unit" in options["testpaths"]


def test_hooks_fetch_nothing() -> None:
    """Hooks run the tools that `make setup` has installed."""
    hooks = [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]

    assert ["local"] == [repository["repo"] for repository in HOOKS["repos"]]
    assert {"system"} == {hook["language"] for hook in hooks}
    assert [] == [hook["id"] for hook in hooks if not hook["entry"].startswith(".venv/bin/")]


def test_hooks_do_what_check_does() -> None:
    """A commit that passes them passes `make check`, but for the other unit tests."""
    recipes = re.findall(r"^(?:lint|unit):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    checked = set(re.findall(r"\$\(BIN\)/([\w-]+)", "".join(recipes)))
    hooked = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in HOOKS["repos"][0]["hooks"]}

    assert checked == hooked
