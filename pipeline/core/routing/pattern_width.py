"""The width of a regular expression: at how many of its places a search may be at once. Pure.

A search in linear time looks at each character once, for each place at which it is: `a[ab]{900}c` is at up to 900, and
takes 900 times as long as a text that is compared. Bounds are from above: what this does not understand is wider.
"""

import math
import re
from dataclasses import dataclass

COUNTS = re.compile(r"\{\s*(\d*)\s*(,?)\s*(\d*)\s*\}")
PLAIN_GROUP = re.compile(r"\?(?::|P?<\w+>)")
FLAGS = re.compile(r"\(\?[a-zA-Z-]+[:)]")
IN_BRACES = frozenset("pPuxb")
NO_LENGTH = frozenset("bBAz<>")
COUNTED_MAX = 10**6  # no pattern that is so long is compiled


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression. `size`: its places; `least`, `most`: of characters; `width`: when it begins once."""

    size: int = 0
    least: int = 0
    most: float = 0
    width: int = 0

    @property
    def begins_of_next(self) -> float:
        """The number of places of the text at which what is behind it may begin."""
        return self.most - self.least + 1

    def then(self, other: "Part") -> "Part":
        """The part with another one behind it. What has one length has ended when the other begins."""
        begins = self.begins_of_next
        behind = int(min(begins * other.width, other.size)) if other.width else 0
        width = max(self.width, behind) if begins == 1 else self.width + behind
        return Part(self.size + other.size, self.least + other.least, self.most + other.most, width)

    def either(self, other: "Part") -> "Part":
        """The choice between both."""
        least, most = min(self.least, other.least), max(self.most, other.most)
        return Part(self.size + other.size, least, most, self.width + other.width)

    def repeated(self, least: int, most: float) -> "Part":
        """The part some times. Copies of one length begin and end together."""
        copies = most if most < math.inf else max(least, 1)
        size = int(min(self.size * max(copies, 1), COUNTED_MAX))
        width = self.width if self.begins_of_next == 1 else size
        return Part(size, self.least * least, self.most * most if self.most and most else 0, width)


def measure_width(pattern: str) -> int:
    """The number of places at which a search may be at once, at most. Raises `ValueError` of what is not supported."""
    flags = FLAGS.findall(pattern)
    if any("x" in each for each in flags):
        raise ValueError("has a pattern with the flag `x`, which is not supported")
    try:
        reader = _Reader(pattern)
        whole = reader.read_whole()
    except (IndexError, RecursionError):
        counts = (max(map(int, re.findall("[0-9]+", found.group())), default=1) for found in COUNTS.finditer(pattern))
        return min(len(pattern) * math.prod(max(1, count) for count in counts), COUNTED_MAX)
    begins_once = pattern.startswith("^") and not reader.has_alternatives and not flags
    return whole.width if begins_once else whole.size


class _Reader:
    """Reads an expression. Raises `IndexError` when it ends too early, or has a bracket too many."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self.has_alternatives = False

    def read_whole(self) -> Part:
        found = self._read_sequence()
        while self._peek() == "|":
            self.has_alternatives = True
            self._at += 1
            found = found.either(self._read_sequence())
        if self._peek():
            raise IndexError
        return found

    def _read_group(self) -> Part:
        plain = PLAIN_GROUP.match(self._pattern, self._at)
        if plain is not None:
            self._at = plain.end()
        found = self._read_sequence()
        while self._take() == "|":
            found = found.either(self._read_sequence())
        return found

    def _read_sequence(self) -> Part:
        """Read to the next `|` or `)`, or the end."""
        found = Part()
        while self._peek() not in ("", "|", ")"):
            found = found.then(self._read_repetitions(self._read_one()))
        return found

    def _read_repetitions(self, part: Part) -> Part:
        while (character := self._peek()) and character in "*+?{":
            counts = COUNTS.match(self._pattern, self._at)
            if character == "{" and counts is None:
                return part
            self._at = counts.end() if counts is not None else self._at + 1
            if counts is not None:
                least, has_most, most = counts.groups()
                end = (int(most) if most else math.inf) if has_most else int(least or 0)
                part = part.repeated(int(least or 0), end)
            else:
                part = part.repeated(int(character == "+"), 1 if character == "?" else math.inf)
        return part

    def _read_one(self) -> Part:
        character = self._take()
        if character == "(":
            return self._read_group()
        if character == "[":
            self._skip_class()
        elif character == "\\":
            name = self._take()
            if name in IN_BRACES and self._peek() == "{":
                self._at = self._pattern.index("}", self._at) + 1 if "}" in self._pattern[self._at :] else self._at
            if name in NO_LENGTH:
                return Part(size=1, width=1)
        elif character in "^$":
            return Part(size=1, width=1)
        return Part(size=1, least=1, most=1, width=1)

    def _skip_class(self) -> None:
        """Skip to the end of a class, in which there may be others."""
        depth = 1
        while depth:
            match self._take():
                case "\\":
                    self._at += 1
                case "[":
                    depth += 1
                case "]":
                    depth -= 1

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]
