"""Builds the documentation as a site: the repository's pages, in the places they have, in the order of `docs/site.yml`.

    python docs/build_site.py OUT        strict: a link to a page or heading that does not exist is an error

Pages and their pictures are copied aside first. A link to a file that is no page (code, rules, a folder) becomes its
text, since a site has no such file. Nothing is loaded from elsewhere when it is read: fonts, styles and search are in
the site.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from properdocs.commands.build import build
from properdocs.config import load_config

ROOT = Path(__file__).resolve().parent.parent
NAVIGATION = ROOT / "docs" / "site.yml"
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
PICTURES = ROOT / "docs" / "pictures"
# Sections that have a page for each file of a folder.
FOLDERS = {"Runbooks": "ops/runbooks", "Decisions": "docs/decisions"}


def build_site(out: Path) -> list[str]:
    """The pages, as places in the repository. Raises what properdocs raises when something is wrong."""
    navigation = read_navigation()
    pages = list_pages(navigation)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for page in pages:
            (source / page).parent.mkdir(parents=True, exist_ok=True)
            (source / page).write_text(rewrite_links((ROOT / page).read_text(), page, frozenset(pages)))
        shutil.copytree(PICTURES, source / PICTURES.relative_to(ROOT))
        build(load_config(str(NAVIGATION), docs_dir=folder, site_dir=str(out), nav=navigation, strict=True))
    return pages


def read_navigation() -> list[dict[str, object]]:
    """The order of the pages, with those of whole folders."""
    navigation: list[dict[str, object]] = yaml.safe_load(NAVIGATION.read_text())["nav"]
    for title, folder in FOLDERS.items():
        navigation.append({title: [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / folder).glob("*.md"))]})
    return navigation


def list_pages(navigation: Iterable[object]) -> list[str]:
    """All that it names."""
    pages: list[str] = []
    for entry in navigation:
        values: Iterable[Any] = entry.values() if isinstance(entry, dict) else (entry,)
        for value in values:
            pages += [value] if isinstance(value, str) else list_pages(value)
    return pages


def rewrite_links(text: str, page: str, pages: frozenset[str]) -> str:
    """`text` of `page`, its links to what is no page replaced by their text. Code stays as it is."""

    def rewrite(link: re.Match[str]) -> str:
        place = link[2].partition("#")[0]
        if not place or ":" in place:
            return link[0]
        target = ((ROOT / page).parent / place).resolve().relative_to(ROOT).as_posix()
        return link[0] if target in pages or (ROOT / target).parent == PICTURES else link[1]

    parts = FENCE.split(text)
    return "".join(part if number % 2 else LINK.sub(rewrite, part) for number, part in enumerate(parts))


if __name__ == "__main__":
    for each in build_site(Path(sys.argv[1])):
        sys.stdout.write(f"{each}\n")
