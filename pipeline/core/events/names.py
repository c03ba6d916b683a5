"""The rules of names and labels: for the API, for records from Kafka, for subscriptions, and for requests sent.

What these accept can be stored, matched and delivered.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from pipeline.core.events.text import find_text_problem

EVENT_TYPE_MAX_CHARS = 200
EVENT_TYPE_MAX_BYTES = 200
LABELS_MAX = 10
METADATA_MAX = 50
PAIR_MAX_BYTES = 50
NAMES_REMEMBERED = 4096
# Invisible characters and line separators: two names that look the same would differ.
HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp", "Zs"))
# What stands in a header's value as it is; `%` does not, so that undoing the encoding never has to guess.
NOT_PLAIN = re.compile(rb"[^ -$&-~]")


class NameProblem(NamedTuple):
    """`code`: as the API's `validation` has it; `message`: the end of a sentence."""

    code: str
    message: str


@lru_cache(maxsize=NAMES_REMEMBERED)
def find_event_type_problem(name: str) -> NameProblem | None:
    """Why this cannot be an event type's name; None: it can."""
    if not 1 <= len(name) <= EVENT_TYPE_MAX_CHARS:
        return NameProblem("length", f"must have 1 to {EVENT_TYPE_MAX_CHARS} characters")
    problem = find_text_part_problem(name)
    if problem is not None:
        return problem
    if len(name.encode()) > EVENT_TYPE_MAX_BYTES:
        return NameProblem("length", f"must have at most {EVENT_TYPE_MAX_BYTES} bytes in UTF-8")
    if name.startswith(" ") or name.endswith(" "):
        return NameProblem("blank", "must not start or end with a blank")
    return None


def find_text_part_problem(text: str) -> NameProblem | None:
    """Why this cannot be part of an event type's name: it has characters that do not show. Of any length."""
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc":
            return NameProblem("non_control_character", "must have no control characters")
        if category in HIDDEN_CATEGORIES and character != " ":
            return NameProblem(
                "visible_character", f"must have no invisible characters or special blanks (U+{ord(character):04X})"
            )
    return None


def find_pairs_problem(pairs: Mapping[str, str]) -> NameProblem | None:
    """Why one of these labels or metadata cannot be taken; None: all can. How many there are is not looked at."""
    # a loop: this runs for every event, and a generator costs as much as the checks
    for pair in pairs.items():
        for text in pair:
            problem = find_text_problem(text)
            if problem is not None:
                return NameProblem("property-text", f"keys and values {problem}")
            if not text or len(text if text.isascii() else text.encode()) > PAIR_MAX_BYTES:
                return NameProblem("property-length", f"keys and values must have 1 to {PAIR_MAX_BYTES} bytes")
    return None


@lru_cache(maxsize=NAMES_REMEMBERED)
def encode_header_text(text: str) -> str:
    """Text as a header's value: visible ASCII and blanks as they are, all else, and `%`, percent-encoded from UTF-8."""
    return NOT_PLAIN.sub(lambda match: b"%%%02X" % match.group()[0], text.encode()).decode("ascii")
