"""The repository as files: what is in it, and what its documents say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
KEPT_HIDDEN = frozenset({".ci", ".gitignore", ".pre-commit-config.yaml"})
GENERATED = re.compile(r"__pycache__|build|dist|.*\.egg-info")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A fenced block of a document. `language` is empty where none is named."""

    language: str
    text: str


def list_files() -> list[Path]:
    """Every file that belongs to the repository: nothing hidden, cached or built."""
    return list(_walk(ROOT))


def list_documents() -> list[Path]:
    """Every Markdown page."""
    return [path for path in list_files() if path.suffix == ".md"]


def read_text(path: Path) -> str | None:
    """A file's text; None when it is none."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def name(path: Path) -> str:
    """A path as messages and lists show it."""
    return path.relative_to(ROOT).as_posix()


def list_blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text."""
    return [Block(*found) for found in FENCE.findall(text)]


def list_inline_code(text: str) -> list[str]:
    """List the texts between single backticks, outside of fenced blocks."""
    return INLINE.findall(FENCE.sub("", text))


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if (path.name.startswith(".") and path.name not in KEPT_HIDDEN) or GENERATED.fullmatch(path.name):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
