import pytest

from pipeline.commands.sending.destination import Destination, find_destination
from pipeline.commands.up.report import Report
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


def find(report: Report | None, *, needs_api: bool = True, **given: str) -> Destination:
    options = {"api": None, "application_id": None, "secret": None, "event_type": None} | given
    return find_destination(lambda: report, **options, labels={}, needs_api=needs_api)


def test_the_demo_of_a_running_one_is_taken() -> None:
    """Nothing need be given."""
    expected = Destination(
        api="http://127.0.0.1:1/api/v1",
        application_id="demo",
        secret="demo's secret",
        event_type="shop.order.placed",
        labels={"environment": "demo"},
    )

    assert expected == find(DEMO)


def test_what_is_given_wins() -> None:
    """Each option by itself."""
    found = find(DEMO, api="http://127.0.0.1:1/api/v1/", event_type="a.b.c")

    assert ("http://127.0.0.1:1/api/v1", "demo", "a.b.c") == (found.api, found.application_id, found.event_type)


def test_another_api_does_not_get_the_demo_s_secret() -> None:
    """Another installation's operator is not to have the secret; the demo is not there either."""
    with pytest.raises(StartError, match=r"^--application-id, --secret, --type, --label must be given"):
        find(DEMO, api="http://other/api/v1")


def test_another_application_does_not_get_the_demo_s_secret() -> None:
    """Event type and labels of the demo would not fit either."""
    with pytest.raises(StartError, match=r"--secret, --type, --label must be given"):
        find(DEMO, application_id="mine")


def test_without_a_running_one_everything_must_be_given() -> None:
    """The message says what is missing."""
    with pytest.raises(StartError, match=r"^--api, --application-id, --secret, --type, --label must be given: no "):
        find(None)


def test_where_everything_is_given_none_is_looked_for() -> None:
    """Several that run are no reason to refuse then."""

    def refuse() -> Report:
        raise AssertionError

    words = dict.fromkeys(("api", "application_id", "secret", "event_type"), "given")
    found = find_destination(refuse, **words, labels={"a": "b"}, needs_api=True)

    assert "given" == found.api


def test_kafka_needs_no_address_and_no_secret() -> None:
    """Kafka decides who may write there."""
    with pytest.raises(StartError, match=r"^--application-id, --type, --label must be given"):
        find(None, needs_api=False)
