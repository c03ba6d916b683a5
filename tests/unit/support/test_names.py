import re
from pathlib import Path
from string import printable

from hypothesis import given
from hypothesis import strategies as st

from tests.support.kafka import format_prefix
from tests.support.postgres import name_of, rename_database
from tests.support.processes import STATE_HOME, select_environ, tail


@given(st.text(alphabet=printable + "äß→", max_size=300))
def test_a_topic_prefix_is_fit_for_kafka(test: str) -> None:
    """A prefix has allowed characters, is short, and has no `_`, which Kafka takes for `.` in metrics, whatever the
    test.
    """
    prefix = format_prefix(test, "1f2e3d4c")

    assert re.fullmatch(r"[a-zA-Z0-9-]+\.", prefix)
    assert prefix.endswith("-1f2e3d4c.")
    assert len(prefix) < 100


def test_a_topic_prefix_says_whose_it_is() -> None:
    """The prefix is for a person who looks at the broker."""
    assert format_prefix("test_events_are_kept[3 brokers]", "1f2e3d4c") == "test-events-are-kept-3-brokers-1f2e3d4c."


def test_another_database_of_the_same_server() -> None:
    """User, password, port and options stay."""
    url = "postgresql://user:p%40ss@127.0.0.1:15432/hookline?sslmode=disable"

    assert rename_database(url, "test_1") == "postgresql://user:p%40ss@127.0.0.1:15432/test_1?sslmode=disable"
    assert rename_database("postgresql:///hookline", "test_1") == "postgresql:///test_1"
    assert name_of(url) == "hookline"


def test_processes_start_without_the_settings_of_the_desk() -> None:
    """Only the place of downloaded parts is handed on; an unknown HOOKLINE_ variable would stop every process.

    The list of installations that run is the tests' own: those of the desk are found by no command.
    """
    environ = {"PATH": "/bin", "HOOKLINE_TEST_KAFKA": "x", "HOOKLINE_KAFKA_PARTITIONS": "1"}
    kept = {"HOOKLINE_EMBEDDED_CACHE_DIR": "/cache"}

    assert {"PATH": "/bin", "XDG_STATE_HOME": STATE_HOME} | kept == select_environ(environ | kept)


def test_a_failure_shows_the_end_of_a_log(tmp_path: Path) -> None:
    """The end is shown, not all of it, and whatever bytes are in it."""
    log = tmp_path / "log"
    log.write_bytes(b"first\n" + b"\xff" * 100_000 + b"\nlast but one\nlast\n")

    assert tail(log, lines=2) == "last but one\nlast"
