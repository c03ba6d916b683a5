"""The map of the house in ARCHITECTURE.md shows every room that there is, and no other."""

import re

from tests.unit.contracts.repository import ROOT, list_files, name

HOUSES = ("schemas", "pipeline", "connectors", "bench")


def test_every_room_is_on_the_map() -> None:
    """A package of the product has its folder's name there; a folder on the map exists."""
    rooms = {
        path.parent.name
        for path in list_files()
        if path.name == "__init__.py" and name(path).startswith(tuple(f"{house}/" for house in HOUSES))
    }
    section = (ROOT / "ARCHITECTURE.md").read_text().split("## The rooms", 1)[1].split("```")[1]
    shown = set(re.findall(r"(?:^| )([a-z_]+)/(?=\s)", section, re.MULTILINE))

    beside = {"tests", "ops", "docs", "examples", "sql"}  # no packages

    assert rooms == shown - beside
