import stat
from pathlib import Path
from uuid import UUID

import pytest

from pipeline.commands.up.data_directory import DataDirectory
from pipeline.commands.up.keys import provide_keys
from pipeline.config import load_settings
from pipeline.core.signing.sealing import parse_keys
from pipeline.start_error import StartError

KEY_FILE, MASTER = "HOOKLINE_SEALING_KEY_FILE", "HOOKLINE_GATEWAY_MASTER_API_KEY"
GIVEN_KEYS = "mine:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
GIVEN_MASTER = "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60"


def open_data(root: Path, *, is_new: bool = True) -> DataDirectory:
    (root / "secrets").mkdir(exist_ok=True)
    return DataDirectory(root=root, is_new=is_new, run_lock=-1)


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    """A first start makes them, readable by their owner only; a later one takes the same."""
    first = provide_keys(load_settings({}), open_data(tmp_path))
    second = provide_keys(load_settings({}), open_data(tmp_path, is_new=False))

    assert first == second
    assert {KEY_FILE, MASTER} == first.keys()
    assert str(UUID(first[MASTER])) == first[MASTER]
    files = list((tmp_path / "secrets").iterdir())
    assert ["master.key", "sealing.key"] == sorted(file.name for file in files)
    assert [0o600, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in files]
    ((key_id, key),) = parse_keys(Path(first[KEY_FILE]).read_text())
    assert key_id
    assert 32 == len(key)


def test_given_keys_are_left_alone(tmp_path: Path) -> None:
    """Nothing is made beside them."""
    given = load_settings({"HOOKLINE_SEALING_KEYS": GIVEN_KEYS, MASTER: GIVEN_MASTER})

    assert {MASTER: GIVEN_MASTER} == provide_keys(given, open_data(tmp_path))
    assert [] == list((tmp_path / "secrets").iterdir())


def test_a_given_key_file_is_handed_on_by_its_absolute_path(tmp_path: Path) -> None:
    """The file is found wherever the processes look from."""
    file = tmp_path / "given.key"
    file.write_text(GIVEN_KEYS)

    keys = provide_keys(load_settings({KEY_FILE: str(file)}), open_data(tmp_path))

    assert str(file) == keys[KEY_FILE]


def test_a_lost_sealing_key_is_not_replaced(tmp_path: Path) -> None:
    """A new key could open nothing that is kept: that must be said, not found out later."""
    with pytest.raises(StartError, match=r"is missing, and the secrets in .* cannot be opened"):
        provide_keys(load_settings({}), open_data(tmp_path, is_new=False))


def test_malformed_keys_are_refused(tmp_path: Path) -> None:
    """Given ones and kept ones alike."""
    with pytest.raises(StartError, match="a sealing key is"):
        provide_keys(load_settings({"HOOKLINE_SEALING_KEYS": "nonsense"}), open_data(tmp_path))
    (tmp_path / "secrets" / "master.key").write_text("nonsense\n")
    with pytest.raises(StartError, match="does not hold a UUID: remove it"):
        provide_keys(load_settings({}), open_data(tmp_path))
