"""The references say what the code says: settings, topics, routes, problems."""

import re
from typing import get_args

import pytest

from docs.reference import PAGES
from pipeline.core.signing.passwords import PasswordProblem
from pipeline.gateway.problems import PROBLEMS
from pipeline.gateway.server import MODULES
from tests.unit.contracts.repository import ROOT, list_blocks, list_files, name

API = ROOT / "docs/api.md"


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_is_what_the_code_would_write(page: str) -> None:
    """Every setting, topic and field is documented. `make docs` renews the pages."""
    written = (ROOT / "docs" / page).read_text()
    rendered = PAGES[page]()

    assert rendered == written, f"docs/{page} is not what the code says any more: run `make docs`"


def test_every_route_is_documented_and_no_other() -> None:
    """docs/api.md lists the routes that the gateway serves, in its last block."""
    routes = {f"{route.method} {route.path}" for module in MODULES for route in module.list_routes()}
    listed = list_blocks(API.read_text())[-1].text.split("\n")

    assert sorted(routes) == sorted(filter(None, listed))


def test_every_problem_the_gateway_answers_with_is_documented() -> None:
    """The page lists each problem by its id, with its status."""
    raised = {
        problem
        for path in list_files()
        if name(path).startswith("pipeline/gateway/")
        for problem in re.findall(r"Problem\(\s*\"(\w+)\"", path.read_text())
    }
    raised |= set(get_args(PasswordProblem))
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", API.read_text(), re.MULTILINE)
    documented = {(problem, int(status)) for status, ids in rows for problem in re.findall(r"`(\w+)`", ids)}

    assert {(problem, PROBLEMS[problem].status) for problem in raised} == documented
