from pathlib import Path

import pytest

from pipeline.commands.up.demo import Demo, read_demo

ID = "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60"


def test_what_an_earlier_start_made_is_read(tmp_path: Path) -> None:
    """All of it."""
    file = tmp_path / "demo.json"
    file.write_text(f'{{"application_id":"{ID}","subscription_id":"{ID}","receiver":"http://127.0.0.1:1/"}}')

    assert Demo(application_id=ID, subscription_id=ID, receiver="http://127.0.0.1:1/") == read_demo(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"application_id":"../x"}', '{"application_id":5}'])
def test_a_file_that_makes_no_sense_means_a_new_demo(tmp_path: Path, text: str) -> None:
    """Nothing in it gets into an address."""
    file = tmp_path / "demo.json"
    file.write_text(text)

    assert Demo() == read_demo(file)
    assert Demo() == read_demo(tmp_path / "gone.json")
