import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.commands.schemas import schemas
from schemas.codec import VERSIONS

OLD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}


def write(path: Path, *fields: dict[str, object]) -> str:
    path.write_text(json.dumps(OLD | {"fields": [{"name": "id", "type": "string"}, *fields]}))
    return str(path)


@pytest.mark.parametrize(
    ("field", "direction", "code"),
    [
        ({"name": "total", "type": "long", "default": 0}, "both", 0),
        ({"name": "total", "type": "long"}, "backward", 1),
        ({"name": "total", "type": "long"}, "forward", 0),
        ({"name": "total", "type": "long"}, "both", 1),
    ],
)
def test_may_it_follow(tmp_path: Path, field: dict[str, object], direction: str, code: int) -> None:
    """A field without a default cannot be read from what was written without it; the reason names the field."""
    old, new = write(tmp_path / "old.avsc"), write(tmp_path / "new.avsc", field)
    result = CliRunner().invoke(schemas, ["check", old, new, "--direction", direction])

    assert code == result.exit_code
    assert ("total" in result.output) == (code == 1)


def test_what_is_no_schema(tmp_path: Path) -> None:
    """The command says so, with an exit code of its own."""
    old = write(tmp_path / "old.avsc")
    deep = '{"type": "array", "items": ' * 5000 + '"long"' + "}" * 5000
    for text in ("{", '{"type": "nothing"}', '"unknown"', "[" * 100_000, deep, "", "null", "1"):
        (tmp_path / "new.avsc").write_text(text)
        result = CliRunner().invoke(schemas, ["check", old, str(tmp_path / "new.avsc")])

        assert 2 == result.exit_code, text
        assert "is no Avro schema" in result.output


@pytest.mark.parametrize("name", [name for name, versions in VERSIONS.items() if len(versions) > 1])
def test_our_own_follow_each_other(name: str) -> None:
    """The command says so of the schemas of this repository."""
    folder = Path("schemas") / name
    for older, newer in zip(VERSIONS[name], VERSIONS[name][1:], strict=False):
        files = [str(folder / f"v{each.version}.avsc") for each in (older, newer)]

        assert 0 == CliRunner().invoke(schemas, ["check", *files]).exit_code
