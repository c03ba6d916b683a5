"""Every option and example of every command: numbers are numbers, examples are taken as they are pasted."""

from pathlib import Path

import click
import pytest

from pipeline.commands.finite import FiniteRange
from tests.support.command_lines import COMMANDS, find_complaint, find_lines
from tests.unit.contracts.repository import list_blocks, list_documents, name

# files that examples name
NAMED = ("order/v1.avsc", "order/v2.avsc", "webhooks.jsonl")
NAMED_FOLDERS = ("before", "after", "results", "b1", "a1", "b2", "a2", "b3", "a3")


@pytest.fixture
def in_a_folder_with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that examples name."""
    for each in NAMED:
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).touch()
    for each in NAMED_FOLDERS:
        (tmp_path / each).mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.usefixtures("in_a_folder_with_files")
def test_a_command_teaches_by_an_example_that_it_takes(words: str) -> None:
    """The help of every command has lines to paste, and the command takes each of them."""
    lines = find_lines(COMMANDS[words].help or "")

    assert [line for line in lines if line.startswith(words)], f"`hookline {words} --help` has no example of it"
    assert [] == [complaint for line in lines if (complaint := find_complaint(line))]


@pytest.mark.parametrize("document", list_documents(), ids=name)
@pytest.mark.usefixtures("in_a_folder_with_files")
def test_a_printed_command_line_is_taken(document: Path) -> None:
    """A line of a shell block can be pasted: its values have the form that the command asks for."""
    texts = [block.text for block in list_blocks(document.read_text()) if block.language == "sh"]

    assert [] == [complaint for text in texts for line in find_lines(text) if (complaint := find_complaint(line))]


def test_a_wrong_line_is_found() -> None:
    """The reader of lines says no: to a value, an option, a missing argument."""
    assert "is not a valid UUID" in str(find_complaint("dead show 12"))
    assert "No such option" in str(find_complaint("migrate --force"))
    assert "Missing argument" in str(find_complaint("topics grow"))
    assert ["migrate --dry-run", "keys new"] == find_lines(
        "A=1 hookline migrate --dry-run\nhookline keys new > a.key\n"
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_a_number_is_finite(words: str) -> None:
    """Python reads `nan` and `inf` as numbers, and no bound refuses `nan`: each option with fractions does."""
    numbers = [option for option in COMMANDS[words].params if isinstance(option.type, click.types.FloatParamType)]

    assert [] == [option.name for option in numbers if not isinstance(option.type, FiniteRange)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_what_is_no_number_is_refused(value: str) -> None:
    """The message names the option and the value."""
    with pytest.raises(click.BadParameter, match=r"is no finite number|not in the range"):
        FiniteRange(0).convert(value, None, None)


def test_help_is_read_in_narrow_terminals() -> None:
    """Lines of examples are not folded: a pasted half does something else."""
    context = click.Context(COMMANDS["topics apply"], info_name="hookline topics apply", terminal_width=40)
    text = COMMANDS["topics apply"].get_help(context)

    assert "HOOKLINE_KAFKA_REPLICATION_FACTOR=3 HOOKLINE_KAFKA_PARTITIONS=32 hookline topics apply" in text
