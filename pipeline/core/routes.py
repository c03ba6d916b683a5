"""Matching: which subscriptions of an application select an event, in each of the versions that are kept.

A subscription selects an event when it is enabled, names the event's type, and all of its labels are among the
event's labels. Rules are indexed by type and by one label, so that the number of subscriptions of an application does
not show in the time it takes; and each has the versions it applied to, so that a change costs what it changes.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

Label = tuple[str, str]
OPEN = 1 << 62  # later than any version


class Span:
    """Something that applied from version `since` until before version `until`."""

    __slots__ = ("name", "since", "until")

    def __init__(self, name: str, since: int) -> None:
        self.name = name
        self.since = since
        self.until = OPEN

    def covers(self, version: int) -> bool:
        return self.since <= version < self.until


class Rule(Span):
    """What a subscription, whose id is the name, selected for some versions."""

    __slots__ = ("anchor", "event_types", "labels")

    def __init__(self, subscription_id: str, since: int, event_types: Iterable[str], labels: Mapping[str, str]) -> None:
        super().__init__(subscription_id, since)
        self.event_types = tuple(event_types)
        self.labels = tuple(labels.items())
        self.anchor: Label | None = None

    def selects_as(self, event_types: Iterable[str], labels: Mapping[str, str]) -> bool:
        return self.event_types == tuple(event_types) and self.labels == tuple(labels.items())


class RoutesHistory:
    """One application's event types and rules, in several versions. Changed version by version, oldest first."""

    __slots__ = ("_closed", "_index", "_label_counts", "_rules", "_type_spans", "_types")

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._types: dict[str, Span] = {}
        self._type_spans: dict[str, list[Span]] = {}
        self._closed: deque[Span] = deque()  # by `until`
        self._label_counts: Counter[Label] = Counter()
        # Type → label → the rules that can match only an event with that label. Made when first asked for: many
        # applications never are, and while a topic is read from its start the labels' counts are not known.
        self._index: dict[str, dict[Label | None, dict[Rule, None]]] | None = None

    @property
    def subscription_ids(self) -> list[str]:
        """Of the newest version; those that are enabled."""
        return list(self._rules)

    @property
    def event_types(self) -> list[str]:
        """Of the newest version."""
        return list(self._types)

    def list_rules(self) -> list[Rule]:
        """Of the newest version: what enabled subscriptions select."""
        return list(self._rules.values())

    def put_rule(
        self,
        subscription_id: str,
        version: int,
        *,
        enabled: bool,
        event_types: Iterable[str],
        labels: Mapping[str, str],
    ) -> None:
        """From this version on the subscription is like that."""
        rule = self._rules.get(subscription_id)
        if rule is not None:
            if enabled and rule.selects_as(event_types, labels):
                return
            self.drop_rule(subscription_id, version)
        if enabled:
            rule = self._rules[subscription_id] = Rule(subscription_id, version, event_types, labels)
            self._label_counts.update(rule.labels)
            if self._index is not None:
                self._add_to_index(rule)

    def drop_rule(self, subscription_id: str, version: int) -> None:
        """From this version on there is no such subscription, or it is disabled."""
        rule = self._rules.pop(subscription_id, None)
        if rule is not None:
            self._label_counts.subtract(rule.labels)
            self._close(rule, version)

    def put_type(self, name: str, version: int) -> None:
        """From this version on the event type exists."""
        if name not in self._types:
            span = self._types[name] = Span(name, version)
            self._type_spans.setdefault(name, []).append(span)

    def drop_type(self, name: str, version: int) -> None:
        """From this version on it does not."""
        span = self._types.pop(name, None)
        if span is not None:
            self._close(span, version)

    def forget_before(self, version: int) -> None:
        """No version older than this one will be asked for any more."""
        while self._closed and self._closed[0].until <= version:
            span = self._closed.popleft()
            if isinstance(span, Rule):
                self._take_from_index(span)
                continue
            spans = self._type_spans[span.name]
            spans.remove(span)
            if not spans:
                del self._type_spans[span.name]

    def has_type(self, name: str, version: int) -> bool:
        """Did the application have this event type in this version?"""
        return any(span.covers(version) for span in self._type_spans.get(name, ()))

    def match(self, event_type: str, labels: Mapping[str, str], version: int) -> list[str]:
        """Subscription ids that select an event of this type with these labels in this version, each once."""
        anchors = self._find_index().get(event_type)
        if anchors is None:
            return []
        found = [rule.name for rule in anchors.get(None, ()) if rule.since <= version < rule.until]
        for label in labels.items():
            found += [
                rule.name
                for rule in anchors.get(label, ())
                if rule.since <= version < rule.until and all(labels.get(key) == value for key, value in rule.labels)
            ]
        return found

    def _close(self, span: Span, version: int) -> None:
        span.until = version
        self._closed.append(span)

    def _find_index(self) -> dict[str, dict[Label | None, dict[Rule, None]]]:
        if self._index is None:
            self._index = {}
            for span in (*self._closed, *self._rules.values()):
                if isinstance(span, Rule):
                    self._add_to_index(span)
        return self._index

    def _add_to_index(self, rule: Rule) -> None:
        assert self._index is not None  # noqa: S101 - callers look
        # The rarest label tells subscriptions apart best: few events have it, few subscriptions share it.
        counts = self._label_counts
        rule.anchor = min(rule.labels, key=lambda label: (counts[label], label), default=None)
        for event_type in rule.event_types:
            self._index.setdefault(event_type, {}).setdefault(rule.anchor, {})[rule] = None

    def _take_from_index(self, rule: Rule) -> None:
        if self._index is None:
            return
        for event_type in rule.event_types:
            anchors = self._index.get(event_type, {})
            rules = anchors.get(rule.anchor, {})
            rules.pop(rule, None)
            if not rules:
                anchors.pop(rule.anchor, None)
                if not anchors:
                    self._index.pop(event_type, None)


class AppliedRoutes:
    """An application's routes in one version."""

    __slots__ = ("_history", "deleted", "version")

    def __init__(self, history: RoutesHistory, version: int, *, deleted: bool) -> None:
        self._history = history
        self.version = version
        self.deleted = deleted

    def has_type(self, name: str) -> bool:
        """Does the application have this event type?"""
        return not self.deleted and self._history.has_type(name, self.version)

    def match(self, event_type: str, labels: Mapping[str, str]) -> list[str]:
        """Subscription ids that select an event of this type with these labels, each once."""
        return [] if self.deleted else self._history.match(event_type, labels, self.version)
