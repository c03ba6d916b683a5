"""A data directory serves one version, and says so when it belongs to another."""

from pathlib import Path

import pytest

from pipeline.embedded.data_dir import check_version, make_directory
from pipeline.embedded.errors import EmbeddedError


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
