"""The rule for every text from outside: Unicode that PostgreSQL and headers can hold.

NUL is refused because PostgreSQL's text cannot hold it; lone surrogates because they have no UTF-8. A payload is bytes
and is no text in this sense.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

NUL = "\x00"
NUL_ESCAPED = rb"\u0000"


def find_text_problem(text: str) -> str | None:
    """Why `text` cannot be taken, as the end of a sentence; None: it can."""
    if text.isascii():
        return "must not contain NUL" if NUL in text else None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must be Unicode text: it has bytes that are not UTF-8, or a lone surrogate"
    return "must not contain NUL" if NUL in text else None


def make_printable(text: str) -> str:
    """Escape what a terminal would obey instead of showing it."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def find_target_problem(target: str) -> str | None:
    """The problem of a request target (path and query) as it was sent, with its percent-encoding undone."""
    if "%" not in target and target.isascii():
        return find_text_problem(target)
    try:
        # bytes that are not UTF-8 arrive as lone surrogates
        text = unquote_to_bytes(target.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        return "must be UTF-8"
    return find_text_problem(text)


def find_nul(form: object, *, exempt: frozenset[str] = frozenset()) -> str | None:
    """The dotted path of a text with NUL in a decoded body; None: there is none. `exempt`: names to leave out."""
    return _find_nul(form, "", exempt)


def _find_nul(node: Any, path: str, exempt: frozenset[str]) -> str | None:
    if isinstance(node, str):
        return path if NUL in node else None
    if isinstance(node, msgspec.Struct):
        node = msgspec.structs.asdict(node)
    if isinstance(node, Mapping):
        for name, inner in node.items():
            if NUL in name:
                return path
            found = None if name in exempt else _find_nul(inner, f"{path}.{name}" if path else name, exempt)
            if found is not None:
                return found
    elif isinstance(node, list | tuple):
        for inner in node:
            found = _find_nul(inner, path, exempt)
            if found is not None:
                return found
    return None
