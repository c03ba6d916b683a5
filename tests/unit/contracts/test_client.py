"""The Python client is what the API's document makes of it."""

import importlib.util

import pytest

from pipeline.client import Client
from pipeline.gateway.server import list_operations
from tests.unit.contracts.repository import ROOT

SPEC = importlib.util.spec_from_file_location("hookline_docs_client", ROOT / "docs" / "client.py")
assert SPEC is not None
assert SPEC.loader is not None
GENERATOR = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(GENERATOR)


@pytest.mark.parametrize("name", ["client.py", "models.py"])
def test_it_is_written_anew_with_every_change(name: str) -> None:
    """`make docs` does."""
    assert GENERATOR.render()[name] == (GENERATOR.FOLDER / name).read_text(), "run `make docs`"


def test_it_has_every_operation() -> None:
    """A method each."""
    methods = [name for name in vars(Client) if not name.startswith("_")]

    assert len(list_operations()) == len(methods)
