from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.records import Routes
from pipeline.core.routing.payload_filter import Content, SelectionCostError
from pipeline.core.routing.routes import PatternIndex, RoutesHistory, Rule
from pipeline.core.routing.type_patterns import do_match, is_pattern
from tests.unit.pipeline.core.compiling import compile_routes

TYPES = ("a.b.c", "a.b.d", "x.y.z")
NAMED = (*TYPES, "a.*.c", "**", "x.y.z.**")
FILTER = '{"path":"/n","op":"eq","value":1}'
CONTENT = Content(b'{"n":1}', "application/json")
LABELS = st.dictionaries(st.sampled_from("pqr"), st.sampled_from("12"), max_size=3)
SUBSCRIPTIONS = st.lists(
    st.fixed_dictionaries(
        {
            "enabled": st.booleans(),
            "event_types": st.lists(st.sampled_from(NAMED), unique=True),
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
        if each["enabled"] and does_name(each, event_type, TYPES) and each["labels"].items() <= labels.items()
    ]

    assert Counter(expected) == Counter(compile_routes(routes).match(event_type, labels))


def does_name(content: Mapping[str, Any], event_type: str, existing: Sequence[str]) -> bool:
    """Does a subscription name the type by itself, or by a pattern of a type that exists?"""
    patterns = [name for name in content["event_types"] if is_pattern(name)]
    return event_type in content["event_types"] or (
        event_type in existing and any(do_match(pattern.split("."), event_type.split(".")) for pattern in patterns)
    )


def test_no_labels_select_every_event_of_the_type() -> None:
    """A subscription without labels takes what has any labels, or none."""
    compiled = compile_routes(make_routes([{"enabled": True, "event_types": ["a.b.c"], "labels": {}}]))

    assert [["0"], ["0"], []] == [
        compiled.match("a.b.c", {}),
        compiled.match("a.b.c", {"p": "1"}),
        compiled.match("a.b.d", {}),
    ]


def test_a_deleted_application_matches_nothing() -> None:
    """A deleted application matches nothing, whatever its last snapshot still holds."""
    subscriptions: list[dict[str, object]] = [{"enabled": True, "event_types": ["a.b.c"], "labels": {}}]

    assert [] == compile_routes(make_routes(subscriptions, deleted=True)).match("a.b.c", {})


def test_a_label_that_all_share_does_not_decide() -> None:
    """Ten thousand subscriptions with one label in common are told apart by the other one: few are looked at."""
    subscriptions: list[dict[str, object]] = [
        {"enabled": True, "event_types": ["a.b.c"], "labels": {"environment": "live", "customer": str(number)}}
        for number in range(10_000)
    ]
    compiled = compile_routes(make_routes(subscriptions))
    labels = CountingLabels({"environment": "live", "customer": "7"})

    assert ["7"] == compiled.match("a.b.c", labels)
    assert labels.looks <= 2


class CountingLabels(dict[str, str]):
    """Counts how often a candidate's labels are compared with the event's."""

    looks = 0

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]  # only to count
        self.looks += 1
        return super().get(key)


CHANGE = st.tuples(
    st.sampled_from("abcde"),
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "enabled": st.booleans(),
                "event_types": st.lists(st.sampled_from(NAMED), unique=True, max_size=2),
                "labels": LABELS,
                "payload_filter": st.sampled_from([None, FILTER, FILTER.replace("eq", "ne"), "unreadable"]),
            }
        ),
    ),
)


@given(
    st.lists(st.lists(CHANGE, max_size=4), min_size=1, max_size=12),
    st.integers(1, 12),
    st.sampled_from(TYPES),
    LABELS,
    st.sets(st.integers(0, 11)),
)
def test_every_version_that_is_kept_matches_as_it_was(
    versions: list[list[tuple[str, dict[str, Any] | None]]],
    kept: int,
    event_type: str,
    labels: dict[str, str],
    looked_at: set[int],
) -> None:
    """Changed one by one, whenever the index was made: each version selects what a snapshot of it would."""
    history = RoutesHistory()
    history.put_type("a.b.c", 0)
    state: dict[str, dict[str, Any]] = {}
    snapshots: dict[int, dict[str, dict[str, Any]]] = {}
    for version, changes in enumerate(versions):
        for subscription_id, content in changes:
            state.pop(subscription_id, None)
            if content is None:
                history.drop_rule(subscription_id, version)
            else:
                history.put_rule(subscription_id, version, **content)
                state[subscription_id] = content
        snapshots[version] = dict(state)
        if version in looked_at:
            history.match(event_type, labels, version, CONTENT)
    first = max(0, len(versions) - kept)
    history.forget_before(first)
    expected = {
        version: sorted(
            subscription_id
            for subscription_id, each in snapshot.items()
            if each["enabled"]
            and does_name(each, event_type, ("a.b.c",))
            and each["labels"].items() <= labels.items()
            and each["payload_filter"] in (None, FILTER)
        )
        for version, snapshot in snapshots.items()
        if version >= first
    }

    assert expected == {version: sorted(history.match(event_type, labels, version, CONTENT)) for version in expected}


def test_nothing_is_kept_of_versions_that_are_forgotten() -> None:
    """A subscription that changes all the time takes the place of its versions that are kept, not of all."""
    history = RoutesHistory()
    for version in range(1000):
        history.put_type(f"a.b.{version}", version)
        history.put_rule("s", version, enabled=True, event_types=[f"a.b.{version}"], labels={"v": str(version)})
        history.drop_type(f"a.b.{version}", version + 1)
        history.match("a.b.c", {}, version)
        history.forget_before(version - 2)

    assert ["s"] == history.match("a.b.999", {"v": "999"}, 999)
    assert 4 >= len(history._index or {})  # noqa: SLF001 - what must not grow
    assert 4 >= len(history._type_spans)  # noqa: SLF001 - what must not grow


class CountedPatterns(tuple[str, ...]):
    """Patterns that count how often they are looked at."""

    __slots__ = ()
    looks: ClassVar[list[int]] = []

    def __iter__(self) -> Iterator[str]:
        self.looks.append(1)
        return super().__iter__()


def test_a_change_lets_only_what_changed_be_looked_at() -> None:
    """A thousand subscriptions with patterns are looked at once for a type, however often one of them changes."""
    index, rules = PatternIndex(), [Rule(f"s{each}", 1, [f"x{each}.**"], {}, None) for each in range(1000)]
    for rule in rules:
        rule.patterns = CountedPatterns(rule.patterns)
        index.add(rule)
    CountedPatterns.looks.clear()
    for each in range(100):
        index.remove(rules[each])
        index.add(rules[each])
        assert [rules[500]] == list(index.find("x500.b.c")[None])

    assert 1000 + 99 == len(CountedPatterns.looks)


def test_patterns_that_take_too_long_are_not_looked_at() -> None:
    """A thousand patterns of forty parts take a second with a name of a hundred; the few that stay are looked at."""
    name, history = ".".join("a" * 100), RoutesHistory()
    history.put_type(name, 1)
    for each in range(20):
        patterns = [f"**.{'a.' * 40}{each}-{number}" for number in range(100)]
        history.put_rule(f"s{each}", 1, enabled=True, event_types=[*patterns, "**"], labels={})
    for _ in range(2):
        with pytest.raises(SelectionCostError):
            history.match(name, {}, 1)
    for each in range(1, 20):
        history.drop_rule(f"s{each}", 2)
    history.forget_before(2)

    assert ["s0"] == history.match(name, {}, 2)
