import io
from pathlib import Path

import pytest

from pipeline.commands.sending.payload import format_payload, read_payload
from pipeline.start_error import StartError

NOTHING = io.BytesIO()
BINARY = "application/octet-stream+base64"


def test_text_and_files_are_read(tmp_path: Path) -> None:
    """The bytes as they are."""
    file = tmp_path / "invoice.json"
    file.write_bytes(b"\xff{}")

    assert "grüß".encode() == read_payload("grüß", NOTHING)
    assert b"\xff{}" == read_payload(f"@{file}", NOTHING)


def test_standard_input_is_read() -> None:
    """A single dash stands for standard input."""
    assert b"\x00\xff" == read_payload("-", io.BytesIO(b"\x00\xff"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says why the file cannot be read."""
    with pytest.raises(StartError, match=r"cannot read the payload from .*gone: No such file"):
        read_payload(f"@{tmp_path}/gone", NOTHING)


def test_each_content_type_has_its_form() -> None:
    """JSON and text verbatim, any bytes as base64."""
    assert '{ "a":1 }' == format_payload(b'{ "a":1 }', "application/json")
    assert "hello" == format_payload(b"hello", "text/plain")
    assert "/wA=" == format_payload(b"\xff\x00", BINARY)


@pytest.mark.parametrize(
    ("payload", "content_type", "reason"),
    [
        (b"hello", "application/json", "is not JSON .* --content-type text/plain"),
        (b"[" * 100_000, "application/json", "is not JSON"),
        (b"\xff", "text/plain", "is no text: .*base64"),
        (b"{}", "text/html", "must be one of application/json, text/plain"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(payload: bytes, content_type: str, reason: str) -> None:
    """The refusal says what to do about it."""
    with pytest.raises(StartError, match=reason):
        format_payload(payload, content_type)
