"""A data directory serves one version, and says so when it belongs to another."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.embedded.data_dir import check_version, make_directory, write_private
from pipeline.embedded.errors import EmbeddedError


def run_without_room(statement: str, place: Path) -> str:
    """Run a statement in a process that can write no byte, as on a full disk; its standard error."""
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from pipeline.embedded.data_dir import make_directory, write_private\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); place = Path(sys.argv[1])\n" + statement
    )
    done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, check=False)
    return done.stderr


@pytest.mark.parametrize("found", ["4.3", "4.3\n", "4.3.1"])
def test_the_same_version_and_its_patch_releases_are_accepted(tmp_path: Path, found: str) -> None:
    """Patch releases share their data."""
    file = tmp_path / "version"
    file.write_text(found)

    check_version(file, "4.3", "Apache Kafka")


@pytest.mark.parametrize("found", ["4.2", "4.30", "5", ""])
def test_another_version_is_refused(tmp_path: Path, found: str) -> None:
    """The message names both versions and the directory, and what to do."""
    file = tmp_path / "version"
    file.write_text(found)

    with pytest.raises(EmbeddedError, match=f"{tmp_path} holds data of Apache Kafka {found}, this is 4.3: choose"):
        check_version(file, "4.3", "Apache Kafka")


def test_a_new_directory_has_no_version_yet(tmp_path: Path) -> None:
    """A first start is no error."""
    check_version(tmp_path / "version", "4.3", "Apache Kafka")


def test_a_new_directory_is_ours_alone(tmp_path: Path) -> None:
    """Other users cannot read event bodies or the database's password from it."""
    made = make_directory(tmp_path / "data" / "kafka")

    assert made.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    """A file stands in the way: the message says where, and what to do."""
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(EmbeddedError, match=r"cannot write to .*choose another directory"):
        make_directory(tmp_path / "taken" / "kafka")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A full disk leaves what was there; the error names the file, and nothing is left beside it."""
    file = tmp_path / "version"
    write_private(file, "1\n")
    said = run_without_room("write_private(place, 'x')", file)

    assert f"File too large: '{file}'" in said
    assert (["version"], "1\n") == ([each.name for each in tmp_path.iterdir()], file.read_text())


def test_a_directory_without_room_is_an_error_for_people(tmp_path: Path) -> None:
    """An empty file fits on a full disk: something is written."""
    said = run_without_room("make_directory(place, setting='HOOKLINE_X')", tmp_path)

    assert f"cannot write to {tmp_path} (File too large): make room or give yourself access" in said
    assert "choose another directory (HOOKLINE_X)" in said
    assert [] == list(tmp_path.iterdir())


def test_a_home_that_is_not_there_is_an_error_for_people() -> None:
    """A container's user may have none; the message names the setting."""
    with pytest.raises(EmbeddedError, match="this user has none: set HOOKLINE_X, or HOME"):
        make_directory(Path("~no-such-user-here/cache"), setting="HOOKLINE_X")
