"""Set-up of every test: the repository on the import path, the folder as the marker, the shared services."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parent
if str(TESTS.parent) not in sys.path:
    sys.path.insert(0, str(TESTS.parent))

pytest_plugins = [
    "tests.support.ending",
    "tests.support.sharing",
    "tests.support.kafka",
    "tests.support.postgres",
    "tests.support.swallowed",
]

FOLDERS = {
    "unit": "no socket, no sleep; the whole folder takes less than 10 s",
    "integration": "one real service each",
    "e2e": "the real processes, started by their commands",
    "chaos": "faults, checked by invariants",
    "benchmarks": "write JSON; compared, never asserted",
    "image": "the processes in containers of the image; `make image`",
}

RANDOM_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

LONGEST_FIRST = ("chaos", "image", "e2e", "integration", "benchmarks", "unit")

# how long an example takes says more about a busy machine than about the code
settings.register_profile("hookline", deadline=None)
settings.load_profile("hookline")

BYTES_NAMED_MAX = 40


def pytest_configure(config: pytest.Config) -> None:
    for folder, meaning in FOLDERS.items():
        config.addinivalue_line("markers", f"{folder}: {meaning}")


def pytest_report_header() -> str:
    # imported here: the import path is only now complete
    from tests.support.payloads import SOURCE

    return f"payloads: {SOURCE}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        folder = item.path.relative_to(TESTS).parts[0]
        if folder not in FOLDERS:
            raise pytest.UsageError(f"{item.path} is in none of the folders of tests: {', '.join(FOLDERS)}")
        item.add_marker(folder)
        refuse_random_name(item)
    if hasattr(config, "workerinput"):
        # the longest files first: the short ones of unit tests then fill what is left of each worker's time
        items.sort(key=lambda item: min(LONGEST_FIRST.index(name) for name in item.keywords if name in FOLDERS))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes that are no short text are named by their length: what compresses or encrypts differs in each process."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable() and len(val) <= BYTES_NAMED_MAX):
        return f"{len(val)} bytes"
    return None


def refuse_random_name(item: pytest.Item) -> None:
    """Workers agree on tests by their names: one that has another name in each process stops the whole run."""
    for found in RANDOM_ID.findall(item.name):
        if found not in item.path.read_text():
            raise pytest.UsageError(f"{item.nodeid}: {found} is made anew in each process; write an id into the file")
