from pathlib import Path

import pytest

from pipeline.commands.sending.destination import Destination, find_destination
from pipeline.commands.up.report import Report, write_report
from pipeline.start_error import StartError

DEMO = Report(
    api="http://127.0.0.1:1/api/v1",
    application_id="demo",
    application_secret="demo's secret",
    master_api_key="key",
    kafka="127.0.0.1:2",
    database_url="postgresql:///x",
    metrics={},
    pids={},
)


def find(data_dir: Path, *, needs_api: bool = True, **given: str) -> Destination:
    options = {"api": None, "application_id": None, "secret": None, "event_type": None} | given
    return find_destination(data_dir, **options, labels={}, needs_api=needs_api)


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The data directory of a `hookline up` that runs."""
    (tmp_path / "run").mkdir()
    write_report(tmp_path, DEMO)
    return tmp_path


def test_the_demo_of_a_running_one_is_taken(running: Path) -> None:
    """Nothing need be given."""
    expected = Destination(
        api="http://127.0.0.1:1/api/v1",
        application_id="demo",
        secret="demo's secret",
        kafka="127.0.0.1:2",
        event_type="shop.order.placed",
        labels={"environment": "demo"},
    )

    assert expected == find(running)


def test_what_is_given_wins(running: Path) -> None:
    """Each option by itself."""
    found = find(running, api="http://other/api/v1/", event_type="a.b.c")

    assert ("http://other/api/v1", "demo", "a.b.c") == (found.api, found.application_id, found.event_type)


def test_another_application_does_not_get_the_demo_s_secret(running: Path) -> None:
    """Event type and labels of the demo would not fit either."""
    with pytest.raises(StartError, match=r"--secret, --type, --label must be given"):
        find(running, application_id="mine")


def test_without_a_running_one_everything_must_be_given(tmp_path: Path) -> None:
    """The message says what is missing, and where the command looked."""
    with pytest.raises(
        StartError, match=r"^--api, --application-id, --secret, --type, --label must be given.*"
    ) as caught:
        find(tmp_path)

    assert str(tmp_path) in str(caught.value)


def test_kafka_needs_no_address_and_no_secret(tmp_path: Path) -> None:
    """Kafka decides who may write there."""
    with pytest.raises(StartError, match=r"^--application-id, --type, --label must be given"):
        find(tmp_path, needs_api=False)
