"""How a start that takes seconds tells a person what it is doing."""

from collections.abc import Callable

Progress = Callable[[str], None]  # takes one line without its end


def keep_silent(_line: str) -> None:
    """The progress of a start that nobody watches."""
