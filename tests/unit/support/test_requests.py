from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.receiver import Journal, ReceivedRequest, read_journal
from tests.support.receiver.answers import Status, format_response
from tests.support.receiver.requests import JournalReader, digest

BODY = b'{"a": "\xc3\xa4"}\x00\xff'
REQUEST = ReceivedRequest(
    number=1,
    connection=1,
    method="POST",
    target="/hooks?tenant=7",
    headers=(("Host", "x"), ("X-Twice", "1"), ("x-twice", "2")),
    body=BODY,
    body_bytes=len(BODY),
    body_sha256=digest(BODY),
    arrived_at_us=1_700_000_000_000_000,
    arrived_monotonic_s=12.5,
    answer="Ok()",
)


def test_a_header_is_found_in_any_case() -> None:
    """The header must be there once, not twice: two signatures would otherwise look like one."""
    assert REQUEST.header("host") == "x"
    assert REQUEST.values("X-TWICE") == ["1", "2"]
    with pytest.raises(AssertionError, match="2 times"):
        REQUEST.header("x-twice")
    with pytest.raises(AssertionError, match="0 times"):
        REQUEST.header("webhook-id")


def test_the_path_leaves_the_query_out() -> None:
    """Scripts and look-ups go by path."""
    assert REQUEST.path == "/hooks"


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Byte for byte, whatever the body."""
    journal = Journal(tmp_path / "journal")
    second = replace(REQUEST, number=2, body=b"", body_bytes=0)
    journal.append(REQUEST)
    journal.append(second)
    journal.close()

    assert [REQUEST, second] == read_journal(tmp_path / "journal")


def test_a_journal_of_digests_leaves_the_body_out_and_its_digest_in(tmp_path: Path) -> None:
    """A long run stays small, and a changed body still shows."""
    journal = Journal(tmp_path / "journal", keeps_bodies=False)
    journal.append(REQUEST)
    journal.close()

    assert [replace(REQUEST, body=b"")] == read_journal(tmp_path / "journal")


def test_a_growing_journal_is_read_line_by_line(tmp_path: Path) -> None:
    """No line twice, and none before it is complete."""
    path = tmp_path / "journal"
    reader = JournalReader(path)
    assert list(reader.read_new()) == []

    journal = Journal(path)
    journal.append(REQUEST)
    line = path.read_bytes()
    path.write_bytes(line + line[:20])
    assert list(reader.read_new()) == [REQUEST]
    assert list(reader.read_new()) == []

    path.write_bytes(line + line)
    assert list(reader.read_new()) == [REQUEST]
    journal.close()


def test_an_answer_is_a_whole_response() -> None:
    """Status line, headers, length, body; a code without a name is no problem."""
    expected = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\nno"

    assert expected == Status(503, b"no", (("Retry-After", "5"),)).to_bytes()
    assert format_response(799, b"").startswith(b"HTTP/1.1 799 Unknown\r\n")
