import stat
from pathlib import Path

import pytest

from pipeline.commands.up.data_directory import open_data_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.progress import keep_silent


def test_it_is_new_until_it_is_marked(tmp_path: Path) -> None:
    """A first start that broke off counts as none."""
    seen = []
    for _ in range(2):
        with open_data_directory(tmp_path / "data", keep_silent) as data:
            seen.append(data.is_new)
    with open_data_directory(tmp_path / "data", keep_silent) as data:
        data.mark()
    with open_data_directory(tmp_path / "data", keep_silent) as data:
        seen.append(data.is_new)

    assert [True, True, False] == seen
    assert 0o700 == stat.S_IMODE((tmp_path / "data" / "secrets").stat().st_mode)


def test_a_second_one_is_refused_at_once(tmp_path: Path) -> None:
    """Two would write the same files."""
    with open_data_directory(tmp_path, keep_silent), pytest.raises(EmbeddedError, match="another hookline up uses"):
        open_data_directory(tmp_path, keep_silent).__enter__()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    """A directory of another layout would be read wrongly."""
    (tmp_path / "version").write_text("2\n")

    with pytest.raises(EmbeddedError, match="holds data of layout 2, this is 1"):
        open_data_directory(tmp_path, keep_silent).__enter__()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Below a file, for example."""
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="cannot write to"):
        open_data_directory(tmp_path / "file" / "data", keep_silent).__enter__()


def test_what_a_killed_one_left_is_swept_away(tmp_path: Path) -> None:
    """The pids may belong to other processes by now, the addresses to none."""
    (tmp_path / "run").mkdir()
    for name in ("deliver.1.pid", "deliver.123.json", "report.json"):
        (tmp_path / "run" / name).write_text("1")

    with open_data_directory(tmp_path, keep_silent) as data:
        assert ["lock"] == [path.name for path in data.run.iterdir()]
