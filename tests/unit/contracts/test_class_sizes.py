"""Classes of the delivering half stay small: one per concern, so that each can be read at once."""

import ast
from pathlib import Path

import pytest

from tests.unit.contracts.repository import list_files, name

FOLDERS = ("connectors/", "pipeline/kafka/")
LINES_MAX = 250
ATTRIBUTES_MAX = 12


def list_modules() -> list[Path]:
    return [path for path in list_files() if path.suffix == ".py" and name(path).startswith(FOLDERS)]


def find_attributes(node: ast.ClassDef) -> set[str]:
    """Names assigned to `self`, and fields of a data class."""
    own = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }
    fields = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return own | {target.id for target in fields if isinstance(target, ast.Name)}


@pytest.mark.parametrize("path", list_modules(), ids=name)
def test_a_class_is_small(path: Path) -> None:
    """A class has at most 250 lines and 12 attributes."""
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    sizes = {node.name: ((node.end_lineno or 0) - node.lineno + 1, len(find_attributes(node))) for node in classes}

    large = {each: size for each, size in sizes.items() if size[0] > LINES_MAX or size[1] > ATTRIBUTES_MAX}
    assert {} == large
