"""Code names its subjects: which process, caller or operator it is, and what a docstring is about."""

import ast
import re

from tests.unit.contracts.repository import list_files, name, read_text

# in two pieces each, so that this file does not match itself
VAGUE = re.compile(r"\b(?:who" r"ever|whos" r"ever|no" r"body|some" r"body|any" r"body|every" r"body)\b", re.IGNORECASE)
FOREIGN = "tests/support/conformance/"
# a clause, a fragment or a pronoun instead of a subject
HIDDEN_SUBJECT = re.compile(
    r"(?:What|Who|Whose|Of|So|Once|It|There|None:|True;|By|This|That|Those|They|To be|The same"
    r"|And|Or|Nor|Not|Then|Also|As|Until|Since|When)[ ,;:]"
)


def test_files_name_their_subjects() -> None:
    """No code, document, query or setting has a word that hides its subject; test cases of others keep theirs."""
    texts = {path: text for path in list_files() if (text := read_text(path)) and not name(path).startswith(FOREIGN)}
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path, text in texts.items()
        for number, line in enumerate(text.split("\n"), 1)
        if VAGUE.search(line)
    ]

    assert len(texts) > 1200
    assert [] == found


def test_a_docstring_begins_with_its_subject() -> None:
    """A subject or a verb comes first: a reader who meets a docstring in a list knows what it is about."""
    modules = [path for path in list_files() if path.suffix == ".py"]
    found = [
        f"{name(path)}: {text[:100]}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if HIDDEN_SUBJECT.match(text := ast.get_docstring(node) or "")
    ]

    assert len(modules) > 900
    assert [] == found
