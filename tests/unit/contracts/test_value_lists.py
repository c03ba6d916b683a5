"""A page that lists the values of something lists those that the code has, and no others."""

import re
from typing import get_args

import msgspec
import pytest

from connectors.http.client.exchange import ErrorClass
from pipeline.core.events.operational import OPERATIONAL_TYPES, TEST
from pipeline.core.routing.delivery_settings import EventFormat
from pipeline.core.routing.payload_filter import OPERATORS
from pipeline.core.routing.payload_schema import Mode
from pipeline.gateway.control.subscription_form import DeliveryForm, SubscriptionForm
from pipeline.gateway.ingest import EventForm
from pipeline.gateway.reads.stats import Step
from pipeline.metrics import DEAD_REASONS
from pipeline.postgres.archive.deliveries import State
from tests.unit.contracts.repository import ROOT

API = "docs/api.md"
PRODUCERS = "docs/kafka-producers.md"
TOPICS = "docs/topics.md"
LOCAL = {ErrorClass.LOCAL}  # never archived: the delivery waits without an attempt


def read_section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no heading {heading}"
    return found.group(1)


def read_table(text: str, header: str) -> set[str]:
    """The names in the first column of the table that begins with `header`."""
    table = text.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    rows = table.split("\n")[2:]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def read_list(text: str, before: str, after: str) -> set[str]:
    """The names in quotes between two pieces of text."""
    found = re.search(f"{re.escape(before)}(.*?){re.escape(after)}", text, re.DOTALL)
    assert found is not None, f"there is no list between {before!r} and {after!r}"
    return set(re.findall(r"`([\w.-]+)`", found.group(1)))


@pytest.mark.parametrize(
    ("heading", "form", "elsewhere"),
    [
        ("`POST /event`", EventForm, set()),
        # two older spellings of labels, which its row names
        ("Subscriptions", SubscriptionForm, {"label_key", "label_value"}),
    ],
    ids=["event", "subscription"],
)
def test_the_members_of_a_body(heading: str, form: type[msgspec.Struct], elsewhere: set[str]) -> None:
    """A client can send them, and the page names each."""
    listed = read_table(read_section(API, heading), "member")

    assert set(form.__struct_fields__) - elsewhere == listed


def test_the_settings_of_a_subscription_s_deliveries() -> None:
    """The second table of the section."""
    listed = read_table(read_section(API, "Subscriptions"), "member | meaning")

    assert set(DeliveryForm.__struct_fields__) == listed


def test_the_forms_in_which_an_event_is_sent() -> None:
    """Each stands in the row of `event_format`."""
    (row,) = re.findall(r"^\| `event_format` .*$", read_section(API, "Subscriptions"), re.MULTILINE)

    assert set(get_args(EventFormat)) == set(re.findall(r"`([\w-]+)`", row)) - {"event_format"}


def test_the_operators_of_payload_filters() -> None:
    """Each has a row that says what it compares."""
    assert set(OPERATORS) == read_table(read_section(API, "Payload filters"), "`op`")


def test_the_modes_of_payload_schemas() -> None:
    """Where the page says what becomes of a payload that does not fit."""
    listed = read_list((ROOT / API).read_text(), "what becomes of those that do not fit: ", " (422")

    assert set(get_args(Mode)) == listed


def test_the_states_of_a_delivery() -> None:
    """The values of the filter, which are those of `state.type`."""
    assert set(get_args(State)) == read_list(read_section(API, "Deliveries"), "`state` (some of", ")")


def test_the_steps_of_figures() -> None:
    """Steps are from a minute up."""
    assert set(get_args(Step)) == read_list(read_section(API, "Figures"), "`step` (", ";")


def test_the_errors_of_attempts() -> None:
    """Errors are listed on the page of the API, and where the record is described."""
    in_api = read_list(read_section(API, "Request attempts and responses"), "when it failed:", "The body is text")
    (row,) = re.findall(r"^\| `error_class` .*$", read_section(TOPICS, "attempt"), re.MULTILINE)

    assert {each.value for each in set(ErrorClass) - LOCAL} == in_api
    assert in_api == set(re.findall(r"E_\w+", row))


def test_the_reasons_of_dead_letters() -> None:
    """All on the page of the API; those that a producer can cause on the producers' page, with what to do."""
    listed = read_list(read_section(API, "Dead letters"), "`reason` is one of", "refuses the row")
    of_producers = read_table(read_section(PRODUCERS, "What is refused"), "reason")

    assert set(DEAD_REASONS) == listed
    assert of_producers < listed


def test_the_operational_events() -> None:
    """Each is named on the page of the API; `.changed` is short for the type before with another ending."""
    text = (ROOT / API).read_text()
    named = set(re.findall(r"`(hookline\.[a-z_.]+)`", text))
    for prefix, endings in re.findall(r"`(hookline\.\w+\.)created`((?:, `\.\w+`)+)", text):
        named |= {prefix + ending for ending in re.findall(r"`\.(\w+)`", endings)}

    assert OPERATIONAL_TYPES | {TEST} == {each for each in named if not each.startswith("hookline.events")}
