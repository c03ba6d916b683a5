"""The reader of command lines itself: it must be able to say no."""

import pytest

from tests.unit.contracts.command_line import find_command_lines, find_problem


def test_command_lines_are_found_in_shell_blocks_and_inline_code() -> None:
    """Lines are found with their continuations, without what belongs to the shell."""
    markdown = (
        "Use `hookline settings`, or `.venv/bin/hookline topics plan`.\n"
        "```sh\nA=1 hookline dead redrive --dry-run \\\n    --reason exhausted  # why\nhookline keys new > a.key\n```\n"
        "```python\nhookline = 1\n```\n"
        "Topics such as `hookline.events` are none.\n"
    )

    assert [
        "dead redrive --dry-run      --reason exhausted",
        "keys new",
        "settings",
        "topics plan",
    ] == sorted(find_command_lines(markdown))


@pytest.mark.parametrize("line", ["settings", "topics apply", "--help", "send '{\"a\": 1}' --count 2", "dead list -h"])
def test_what_exists_is_no_problem(line: str) -> None:
    """Commands, sub-commands, options, with any arguments."""
    assert find_problem(line) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("capacitate", "`hookline` has no sub-command `capacitate`"),
        ("topics drop", "`hookline topics` has no sub-command `drop`"),
        ("migrate --force", "`hookline migrate` has no option `--force`"),
    ],
)
def test_what_does_not_exist_is_named(line: str, problem: str) -> None:
    """The message says where the line goes wrong."""
    assert problem == find_problem(line)
