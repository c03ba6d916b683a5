"""Files, commands, settings and targets that documents name exist; their samples are true."""

import re
from pathlib import Path

import pytest

from pipeline.config import list_variables
from pipeline.core.events.event import parse_event
from pipeline.core.events.records import Event
from tests.unit.contracts.command_line import find_command_lines, find_problem
from tests.unit.contracts.metrics import NAME as METRIC
from tests.unit.contracts.metrics import list_series
from tests.unit.contracts.repository import (
    FENCE,
    INLINE,
    ROOT,
    list_blocks,
    list_documents,
    list_files,
    list_inline_code,
    name,
    read_text,
)

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"(?<![A-Z_])HOOKLINE_[A-Z0-9][A-Z0-9_]*\*?")
TARGET = re.compile(r"\bmake ([a-z]+)\b")
# What the tests' own fixtures read, and nothing else does.
TEST_VARIABLES = frozenset(f"HOOKLINE_TEST_{name}" for name in ("KAFKA", "DATABASE", "KILLS", "FAULTS", "SEEDS"))
WITH_VARIABLES = frozenset({".md", ".yml", ".yaml", ".json"})
WITHOUT_SUFFIX = frozenset({"Dockerfile", "Makefile", "run"})

PATH = re.compile(
    r"(?<![\w/.-])((?:tests|pipeline|connectors|bench|schemas|docs|ops|examples)/[\w./-]+\.(?:py|md|sql|yml|json|avsc|sh))\b"
)
PATH_EXAMPLES = ("tests/unit/x.py",)
BARE_NAME = re.compile(r"[\w.-]+\.(?:py|md|sql|avsc)")
PYTEST = re.compile(r"\bpytest (.*?) -k (\w+)")
# what has the form of a metric's name and is none: a changelog names metrics of the past, a token begins so
TOKEN_START = "hookline_st_"
HISTORY = "CHANGELOG.md"

documents = pytest.mark.parametrize("document", list_documents(), ids=name)


@documents
def test_links_lead_to_files_and_headings(document: Path) -> None:
    """Every relative link leads to something, every fragment to a heading of it."""
    broken = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        place, _, heading = link.partition("#")
        if "://" in place or place.startswith("mailto:"):
            continue
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (heading and heading not in list_anchors(target)):
            broken.append(link)

    assert [] == broken


@documents
def test_paths_in_documents_exist(document: Path) -> None:
    """Each file of the repository that is named is there, whatever has moved."""
    named = {path for path in PATH.findall(document.read_text()) if not path.startswith(PATH_EXAMPLES)}

    assert [] == sorted(path for path in named if not (ROOT / path).exists() and not (document.parent / path).exists())


@documents
def test_files_named_without_a_folder_exist(document: Path) -> None:
    """Each file that is named by its name alone is somewhere in the repository."""
    known = {path.name for path in list_files()}
    named = {code for code in list_inline_code(document.read_text()) if BARE_NAME.fullmatch(code)}

    assert set() == named - known


@documents
def test_metrics_in_documents_exist(document: Path) -> None:
    """Each metric that is named is in the catalogue, as a series or as a histogram."""
    series = list_series()
    known = {*series, *(re.sub("_bucket$", "", each) for each in series), TOKEN_START}
    named = set(METRIC.findall(document.read_text())) if document.name != HISTORY else set()

    assert set() == named - known


@documents
def test_selected_tests_in_documents_exist(document: Path) -> None:
    """Each `pytest FILE -k WORD` selects a test of the file, by its name or that of a case."""
    missing = [
        f"{place} -k {word}"
        for options, word in PYTEST.findall(document.read_text())
        for place in PATH.findall(options)
        if not re.search(rf"def test_\w*{word}|\"[\w-]*{word}[\w-]*\"", (ROOT / place).read_text())
    ]

    assert [] == missing


@documents
def test_commands_in_documents_exist(document: Path) -> None:
    """Each `hookline …` names existing sub-commands and options."""
    problems = [problem for line in find_command_lines(document.read_text()) if (problem := find_problem(line))]

    assert [] == problems


@pytest.mark.parametrize("folder", ["pipeline", "connectors", "bench", "ops", "docs", "examples"])
def test_commands_in_messages_and_docstrings_exist(folder: str) -> None:
    """Every command that a message names can be run."""
    problems = [
        f"{name(path)}: {problem}"
        for path in list_files()
        if path.suffix == ".py" and name(path).startswith(f"{folder}/")
        for code in INLINE.findall(path.read_text())
        if "{" not in code
        for line in find_command_lines(f"`{code}`")
        if (problem := find_problem(line)) is not None
    ]

    assert [] == problems


def test_settings_named_outside_of_the_code_exist() -> None:
    """Settings exist that documents, compose file, image, dashboards and alerts name; `HOOKLINE_KAFKA_*` stands for all
    of that prefix.
    """
    known = frozenset(list_variables()) | TEST_VARIABLES
    unknown = [
        f"{name(path)}: {variable}"
        for path in list_files()
        if path.suffix in WITH_VARIABLES or path.name in WITHOUT_SUFFIX
        for variable in VARIABLE.findall(read_text(path) or "")
        if not is_known(variable, known)
    ]

    assert [] == unknown


@documents
def test_make_targets_in_documents_exist(document: Path) -> None:
    """Each `make …` in code names a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = document.read_text()
    code = [block.text for block in list_blocks(text)] + INLINE.findall(FENCE.sub("", text))

    assert set() == {target for part in code for target in TARGET.findall(part)} - targets


@documents
def test_python_in_documents_compiles(document: Path) -> None:
    """A snippet that is pasted is at least Python."""
    for block in list_blocks(document.read_text()):
        if block.language == "python":
            compile(block.text, name(document), "exec")


def test_the_json_form_of_an_event_is_as_documented() -> None:
    """The sample for producers is an event to the matcher."""
    (sample,) = (
        block.text for block in list_blocks((ROOT / "docs/kafka-producers.md").read_text()) if block.language == "json"
    )
    key = b"0190f1a2-0000-7000-8000-000000000001"
    event = parse_event(sample.encode(), key, topic="hookline.events", partition=0, offset=0, appended_at_us=0)

    assert isinstance(event, Event), event
    assert "shop.order.paid" == event.event_type


def list_anchors(page: Path) -> set[str]:
    """The fragments that lead into a page, made of its headings as forges make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def is_known(variable: str, known: frozenset[str]) -> bool:
    """Is this a setting, or with a star the start of some?"""
    if variable.endswith("*"):
        return any(other.startswith(variable[:-1]) for other in known)
    return variable in known
