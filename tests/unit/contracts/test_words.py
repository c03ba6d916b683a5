"""Words that no file of the repository may have: where packages come from, whose machine this is, private matters.

The patterns are written so that this file does not match itself.
"""

import re
from pathlib import Path

import pytest

from tests.unit.contracts.repository import list_files, name, read_text

FORBIDDEN = {
    "a package registry's address": re.compile(
        r"py[p]i\.org|python[h]osted\.org|npm[j]s\.org|repo1?\.mave[n]|mave[n]\.org|maven\.apach[e]|crate[s]\.io"
        r"|ruby[g]ems\.org|proxy\.golan[g]|docke[r]\.io|ghc[r]\.io|qua[y]\.io|gc[r]\.io|index-ur[l][ =]+http",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(r"(?<![\w.~-])/(?:wor[k]|roo[t]|User[s]|hom[e]/\w+)(?=[/\s\"'`,;:)]|$)"),
    "a working paper": re.compile(r"\b(?:desig[n]|stac[k]|styl[e]|reliabilit[y]|hook0-ap[i]|brie[f])\.md\b"),
    "the number of a report": re.compile(
        r"\b(?:issu[e]s?|pull reques[t]|P[R]|tick[e]t)\s+#?\d+\b|(?<![\w&/(\[])#\d{2,}\b(?!;)"
    ),
    "who or what wrote it": re.compile(
        r"clau[d]e|anthropi[c]|open[a]i\b|chat[g]pt|copilo[t]|\bgp[t]-?\d|language mode[l]|\bL[L]M\b|co-authore[d]-by"
        r"|generated b[y] (?:an? )?(?:ai|assistant|agent)",
        re.IGNORECASE,
    ),
    "a private key": re.compile(r"BEGIN (?:[A-Z]+ )?PRIVAT[E] KEY"),
}
TEXTS = [path for path in list_files() if read_text(path) is not None]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_has_it(what: str) -> None:
    """Files are read as they are, documents and data as well as code."""
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in TEXTS
        for number, line in enumerate((read_text(path) or "").split("\n"), 1)
        if FORBIDDEN[what].search(line)
    ]

    assert [] == found


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a package registry's address", "--index-" + "url https://example.com/simple"),
        ("a package registry's address", "https://files.python" + "hosted.org/x"),
        ("a path of one machine", "see /wor" + "k/main/README"),
        ("a path of one machine", "HOME=/roo" + "t"),
        ("a working paper", "as in desig" + "n.md"),
        ("the number of a report", "fixes #" + "123"),
        ("the number of a report", "see issu" + "e 606"),
        ("who or what wrote it", "written by Clau" + "de"),
        ("a private key", "-----BEGIN RSA PRIVAT" + "E KEY-----"),
    ],
)
def test_it_would_be_found(what: str, text: str) -> None:
    """A pattern that finds nothing at all would be a poor guard."""
    assert FORBIDDEN[what].search(text) is not None


@pytest.mark.parametrize("text", ["usr/work/x.py", "the work of /health", "color: #fff", "working/root", "`/v1/event`"])
def test_ordinary_text_is_not_found(text: str) -> None:
    """A guard that cries at everything is switched off."""
    assert [] == [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]


def test_the_pages_that_matter_are_looked_at() -> None:
    """The files include code, documents, locks and data."""
    looked_at = {name(path) for path in TEXTS}

    assert {"README.md", "pyproject.toml", "requirements/run.txt", ".ci/run", "pipeline/cli.py"} <= looked_at
    assert all(isinstance(path, Path) for path in TEXTS)
