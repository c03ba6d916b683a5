"""Shows a person the steps of a start that takes seconds."""

from collections.abc import Callable

Progress = Callable[[str], None]  # takes one line without its end


def keep_silent(_line: str) -> None:
    """Shows nothing: the progress of a start without a viewer."""
