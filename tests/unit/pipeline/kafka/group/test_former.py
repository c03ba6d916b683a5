"""A group member's name is remembered past its process, and taken once."""

from pathlib import Path

from pipeline.kafka.group.former import MemberFile


def test_the_next_process_knows_the_one_before(tmp_path: Path) -> None:
    """A killed process leaves its file, and no lock; one that lives beside it has another file."""
    (tmp_path / "hookline.deliver.0.member").write_text("killed")
    next_one = MemberFile(tmp_path, "hookline.deliver")
    next_one.note("next")
    beside = MemberFile(tmp_path, "hookline.deliver")
    archive = MemberFile(tmp_path, "hookline.archive")

    assert ("killed", "", "") == (next_one.former, beside.former, archive.former)
    assert "next" == (tmp_path / "hookline.deliver.0.member").read_text()


def test_one_that_left_is_not_remembered(tmp_path: Path) -> None:
    """A member that left need not be taken out of the group."""
    first = MemberFile(tmp_path, "hookline.deliver")
    first.note("one")
    first.close()

    assert "" == MemberFile(tmp_path, "hookline.deliver").former


def test_nothing_is_remembered_without_a_directory() -> None:
    """A session then runs out by itself."""
    file = MemberFile(None, "hookline.deliver")
    file.note("one")
    file.close()

    assert "" == file.former
