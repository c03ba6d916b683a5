"""Words for a person who is not named make a reader guess: code says which process, caller or operator it is."""

import re

from tests.unit.contracts.repository import list_files, name

# in two pieces each, so that this file does not match itself
VAGUE = re.compile(r"\b(?:who" r"ever|whos" r"ever|no" r"body|some" r"body|any" r"body|every" r"body)\b", re.IGNORECASE)


def test_code_names_its_subjects() -> None:
    """In every module, tests included."""
    modules = [path for path in list_files() if path.suffix == ".py"]
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in modules
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if VAGUE.search(line)
    ]

    assert len(modules) > 900
    assert [] == found
