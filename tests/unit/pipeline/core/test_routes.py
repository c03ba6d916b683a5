from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import Routes
from pipeline.core.routes import CompiledRoutes

TYPES = ("a.b.c", "a.b.d", "x.y.z")
LABELS = st.dictionaries(st.sampled_from("pqr"), st.sampled_from("12"), max_size=3)
SUBSCRIPTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "enabled": st.booleans(),
            "event_types": st.lists(st.sampled_from(TYPES), unique=True),
            "labels": LABELS,
        }
    ),
    max_size=12,
)


def make_routes(
    subscriptions: list[dict[str, object]], *, deleted: bool = False, event_types: tuple[str, ...] = TYPES
) -> Routes:
    numbered = [{"subscription_id": str(number), **each} for number, each in enumerate(subscriptions)]
    return Routes(
        application_id="a",
        organization_id="o",
        version=3,
        changed_at_us=0,
        deleted=deleted,
        event_types=list(event_types),
        subscriptions=numbered,
        secret_hashes=[],
    )


@given(SUBSCRIPTIONS, st.sampled_from([*TYPES, "unknown"]), LABELS)
def test_equal_to_a_scan(subscriptions: list[dict[str, object]], event_type: str, labels: dict[str, str]) -> None:
    """The index finds what looking at every subscription finds, each once, whatever the routes and the event."""
    routes = make_routes(subscriptions)
    expected = [
        each["subscription_id"]
        for each in routes.subscriptions
        if each["enabled"] and event_type in each["event_types"] and each["labels"].items() <= labels.items()
    ]

    assert Counter(expected) == Counter(CompiledRoutes(routes).match(event_type, labels))


def test_no_labels_select_every_event_of_the_type() -> None:
    """A subscription without labels takes what has any labels, or none."""
    compiled = CompiledRoutes(make_routes([{"enabled": True, "event_types": ["a.b.c"], "labels": {}}]))

    assert [["0"], ["0"], []] == [
        compiled.match("a.b.c", {}),
        compiled.match("a.b.c", {"p": "1"}),
        compiled.match("a.b.d", {}),
    ]


def test_a_deleted_application_matches_nothing() -> None:
    """Whatever its last snapshot still holds."""
    subscriptions: list[dict[str, object]] = [{"enabled": True, "event_types": ["a.b.c"], "labels": {}}]

    assert [] == CompiledRoutes(make_routes(subscriptions, deleted=True)).match("a.b.c", {})


def test_a_label_that_all_share_does_not_decide() -> None:
    """Ten thousand subscriptions with one label in common are told apart by the other one: few are looked at."""
    subscriptions: list[dict[str, object]] = [
        {"enabled": True, "event_types": ["a.b.c"], "labels": {"environment": "live", "customer": str(number)}}
        for number in range(10_000)
    ]
    compiled = CompiledRoutes(make_routes(subscriptions))
    labels = CountingLabels({"environment": "live", "customer": "7"})

    assert ["7"] == compiled.match("a.b.c", labels)
    assert labels.looks <= 2


class CountingLabels(dict[str, str]):
    """Counts how often a candidate's labels are compared with the event's."""

    looks = 0

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]  # only to count
        self.looks += 1
        return super().get(key)
