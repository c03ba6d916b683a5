"""Words for a person who is not named make a reader guess: code says which process, caller or operator it is."""

import re

from tests.unit.contracts.repository import list_files, name

FOLDERS = ("schemas/", "pipeline/", "connectors/", "bench/", "examples/", "ops/", "docs/")
VAGUE = re.compile(r"\b(?:whoever|whosever|nobody|somebody|anybody|everybody)\b", re.IGNORECASE)


def test_code_names_its_subjects() -> None:
    """In the modules that were rewritten so: the others follow folder by folder."""
    modules = [path for path in list_files() if path.suffix == ".py" and name(path).startswith(FOLDERS)]
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in modules
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if VAGUE.search(line)
    ]

    assert len(modules) > 100
    assert [] == found
