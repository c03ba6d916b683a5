"""Rules about fields, collected: a request with several mistakes hears of all of them (`Validation`, 422).

Each rule names a field, a stable `code` and the bounds; the tree of a nested field is keyed by its dotted path's parts.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from pipeline.core.events.names import (
    EVENT_TYPE_MAX_CHARS,
    PAIR_MAX_BYTES,
    find_event_type_problem,
    find_pairs_problem,
    find_text_part_problem,
)
from pipeline.gateway.problems import Problem


class Findings:
    """The problems of one request. `raise_if_any` ends it."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}

    def add(self, field: str, code: str, message: str, **params: object) -> None:
        """Add a problem of `field` (`target.url` for a nested one)."""
        *path, name = field.split(".")
        tree = self._tree
        for part in path:
            tree = tree.setdefault(part, {})
        tree.setdefault(name, []).append({"code": code, "message": message, "params": params})

    def raise_if_any(self) -> None:
        """Raise `Problem` when there are findings."""
        if self._tree:
            raise self.to_problem()

    def to_problem(self) -> Problem:
        """The problem with all that was found."""
        return Problem("Validation", validation=self._tree)

    def check_text(self, field: str, text: str, *, least: int = 1, most: int) -> None:
        """Check for `least` to `most` characters, none of them a control character."""
        self.check_length(field, text, least=least, most=most)
        if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
            self.add(field, "non_control_character", "it must have no control characters")

    def check_length(self, field: str, text: str, *, least: int = 1, most: int) -> None:
        """Check for `least` to `most` characters."""
        if not least <= len(text) <= most:
            self.add(field, "length", f"it must have {least} to {most} characters", min=least, max=most)

    def check_pairs(self, field: str, pairs: Mapping[str, str], *, least: int, most: int) -> None:
        """Check for `least` to `most` pairs, keys and values of 1 to 50 bytes. Codes: `<field>-size` and so on."""
        if not least <= len(pairs) <= most:
            self.add(field, f"{field}-size", f"there must be {least} to {most} pairs", min=least, max=most)
        problem = find_pairs_problem(pairs)
        if problem is not None:
            code = f"{field}-{problem.code}"
            bounds = {"min": 1, "max": PAIR_MAX_BYTES} if problem.code == "property-length" else {}
            self.add(field, code, problem.message, **bounds)

    def check_event_type(self, field: str, name: str) -> None:
        """A name that an event type can have; see `pipeline.core.events.names`."""
        problem = find_event_type_problem(name)
        if problem is not None:
            bounds = {"min": 1, "max": EVENT_TYPE_MAX_CHARS} if problem.code == "length" else {}
            self.add(field, problem.code, f"it {problem.message}", **bounds)

    def check_event_type_part(
        self, field: str, text: str, *, most: int, is_first: bool = False, is_last: bool = False
    ) -> None:
        """A part of an event type's name, of 1 to `most` characters. The name starts and ends with no blank."""
        self.check_length(field, text, most=most)
        problem = find_text_part_problem(text)
        if problem is not None:
            self.add(field, problem.code, f"it {problem.message}")
        if is_first and text.startswith(" "):
            self.add(field, "blank", "it must not start with a blank")
        if is_last and text.endswith(" "):
            self.add(field, "blank", "it must not end with a blank")
