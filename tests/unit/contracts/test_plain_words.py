"""Code names its subjects: which process, caller or operator it is, and what a docstring is about."""

import ast
import re

from tests.unit.contracts.repository import list_files, name, read_text

# in two pieces each, so that this file does not match itself
VAGUE = re.compile(r"\b(?:who" r"ever|whos" r"ever|no" r"body|some" r"body|any" r"body|every" r"body)\b", re.IGNORECASE)
FOREIGN = "tests/support/conformance/"
# a clause, a fragment or a pronoun instead of a subject
HIDDEN_SUBJECT = re.compile(
    r"(?:What|Who|Whose|So|Once|It|There|None:|None when|True;|False|This|That|Those|They|The same|And|Or|Nor|Not|Then"
    r"|Also|As|Like"
    # a possessive or a place in time and space, whose owner or event is somewhere else
    r"|Its|Their|Of|By|With|Within|Without|In|Into|At|On|Under|Over|From|For|To|Through|Beside|Behind|Between|Among"
    r"|During|Until|Since|When|Whenever|While|After|Before|Later|Instead|Straight|Never|Even|Rather|Better|If|Unless"
    r"|However|Whatever|Whichever|Wherever)[ ,;:]"
)
# a pronoun whose noun stands elsewhere: "Start it", "Is it known?"
HIDDEN_OBJECT = re.compile(r"\w+ (?:it|them|theirs|themselves)\b|Something\b")


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
    """A subject, or a verb and its object, comes first: a docstring in a list says what it is about."""
    modules = [path for path in list_files() if path.suffix == ".py"]
    found = [
        f"{name(path)}: {text[:100]}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if HIDDEN_SUBJECT.match(text := ast.get_docstring(node) or "") or HIDDEN_OBJECT.match(text)
    ]

    assert len(modules) > 900
    assert [] == found
