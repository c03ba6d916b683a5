from pathlib import Path

import pytest

from pipeline.commands.installation.finding import Choice
from pipeline.commands.installation.place import choose_place
from pipeline.commands.installation.running import choose_profile
from pipeline.start_error import StartError

ENVIRON = {"XDG_DATA_HOME": "/srv/me/data"}


def test_without_options_it_is_here() -> None:
    """The profile is called as the directory is."""
    place = choose_place(Choice(), ENVIRON)

    assert (Path.cwd() / ".hookline", choose_profile(Path.cwd() / ".hookline")) == (place.data_dir, place.profile)


def test_a_profile_has_a_directory_of_its_own() -> None:
    """A profile's directory is the same from anywhere; --data-dir gives it another one."""
    assert Path("/srv/me/data/hookline/shop") == choose_place(Choice(profile="shop"), ENVIRON).data_dir
    place = choose_place(Choice(profile="shop", data_dir=Path("/x")), ENVIRON)
    assert (Path("/x"), "shop") == (place.data_dir, place.profile)


@pytest.mark.parametrize("profile", ["", "..", "a/b", "-a", "a b", "a" * 64])
def test_a_name_that_is_no_part_of_a_path(profile: str) -> None:
    """Such a name is refused before anything is made."""
    with pytest.raises(StartError, match="--profile"):
        choose_place(Choice(profile=profile), ENVIRON)


@pytest.mark.parametrize(
    ("root", "profile"),
    [
        ("/srv/me/shop/.hookline", "shop"),
        ("/x/data", "data"),
        ("/.hookline", "hookline"),
        ("/a b/é/.hookline", "hookline"),
    ],
)
def test_every_directory_has_a_profile(root: str, profile: str) -> None:
    """A profile can be typed."""
    assert profile == choose_profile(Path(root))
