from pathlib import Path

import pytest

from pipeline.commands.listen.keys import Keys
from pipeline.core.signing.signature import format_standard_secret
from pipeline.start_error import StartError

ONE, TWO = "4f8c1c3e-6f3b-4a57-9b1c-0d6d3d0a8f11", "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60"


def test_given_secrets_and_those_of_the_file_count(tmp_path: Path) -> None:
    """Secrets are in either form, several a file."""
    file = tmp_path / "secrets"
    file.write_text(f"{TWO}\n{format_standard_secret(ONE)}\n")

    assert (ONE.encode(), TWO.encode(), ONE.encode()) == Keys([ONE], file).current()


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """A rotated secret counts from the next delivery on; a file that is gone or broken changes nothing."""
    file = tmp_path / "secret"
    file.write_text("")
    keys = Keys([], file)
    seen = [keys.current()]
    for text in (ONE, TWO, "nonsense"):
        aside = tmp_path / "aside"
        aside.write_text(text)
        aside.rename(file)
        seen.append(keys.current())
    file.unlink()
    seen.append(keys.current())

    assert [(), (ONE.encode(),), (TWO.encode(),), (TWO.encode(),), (TWO.encode(),)] == seen


@pytest.mark.parametrize("content", [b"nonsense", b"\xff"])
def test_what_is_no_secret_is_refused_at_the_start(tmp_path: Path, content: bytes) -> None:
    """The refusal does not wait for the first delivery."""
    file = tmp_path / "secret"
    file.write_bytes(content)

    with pytest.raises(StartError):
        Keys([], file)
    with pytest.raises(StartError, match="a secret is a UUID"):
        Keys(["nonsense"], None)
    with pytest.raises(StartError, match=r"cannot read the secret from .*: No such file"):
        Keys([], tmp_path / "gone")
