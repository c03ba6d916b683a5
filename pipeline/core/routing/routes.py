"""Matching: which subscriptions of an application select an event, in each of the versions that are kept.

A subscription selects an event when it is enabled, names the event's type (itself, or by a pattern if the application
has the type), all of its labels are among the event's labels, and its filter, if it has one, accepts the payload.

Rules are indexed by type and by one label, so that the number of subscriptions of an application does not show in
the time it takes; and each has the versions it applied to, so that a change costs what it changes.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from pipeline.core.routing.payload_filter import Content, PayloadFilter, SelectionCostError, compile_text
from pipeline.core.routing.payload_schema import PayloadSchema, PayloadSchemaError, read_schema
from pipeline.core.routing.type_patterns import do_match, is_pattern

Label = tuple[str, str]


class TypeSchema(NamedTuple):
    """The payload schema of an event type."""

    text: str | None
    mode: str
    version: int


class AppliedSchema(NamedTuple):
    """A schema that payloads are checked against."""

    schema: PayloadSchema
    version: int
    refuses: bool


NO_SCHEMA = TypeSchema(None, "off", 0)
OPEN = 1 << 62  # later than any version
PATTERN_TYPES_MAX = 1_000
# Patterns looked at for one event, of its type for the first time: some 1.5 µs each if they have few parts. Of long
# ones, which take as many steps as pattern and name have parts, multiplied, each step counts as a `PATTERN_STEPS`th.
PATTERNS_MAX = 250_000
PATTERN_STEPS = 16


class Span:
    """A value that applied from version `since` until before version `until`."""

    __slots__ = ("name", "since", "until")

    def __init__(self, name: str, since: int) -> None:
        self.name = name
        self.since = since
        self.until = OPEN

    def covers(self, version: int) -> bool:
        return self.since <= version < self.until


class EventTypeSpan(Span):
    """An event type with one schema, for some versions. The schema is read when it is first asked for."""

    __slots__ = ("_is_read", "_read", "schema")

    def __init__(self, name: str, since: int, schema: TypeSchema) -> None:
        super().__init__(name, since)
        self.schema = schema
        self._read: PayloadSchema | None = None
        self._is_read = schema.text is None or schema.mode == "off"

    def read_schema(self) -> PayloadSchema | None:
        """Read a schema. None: it is off, or this process cannot read it: better no check than no event."""
        if not self._is_read:
            self._is_read = True
            with suppress(PayloadSchemaError):
                self._read = read_schema(self.schema.text or "")
        return self._read


class Rule(Span):
    """The selection of a subscription, whose id is the name, in some versions."""

    __slots__ = ("accepts", "anchor", "event_types", "labels", "patterns", "payload_filter")

    def __init__(
        self,
        subscription_id: str,
        since: int,
        event_types: Iterable[str],
        labels: Mapping[str, str],
        payload_filter: str | None,
    ) -> None:
        super().__init__(subscription_id, since)
        self.event_types = tuple(event_types)
        self.patterns = tuple(filter(is_pattern, self.event_types))
        self.labels = tuple(labels.items())
        self.anchor: Label | None = None
        self.payload_filter = payload_filter
        self.accepts: PayloadFilter | None = compile_text(payload_filter) if payload_filter is not None else None

    def selects_as(self, event_types: Iterable[str], labels: Mapping[str, str], payload_filter: str | None) -> bool:
        return (self.event_types, self.labels, self.payload_filter) == (
            tuple(event_types),
            tuple(labels.items()),
            payload_filter,
        )


Anchors = dict[Label | None, dict[Rule, None]]


class TypeAnchors:
    """The rules that select one type by a pattern; `to_look_at`: rules that came since it was last met."""

    __slots__ = ("_is_too_costly", "_parts", "anchors", "to_look_at")

    def __init__(self, event_type: str, rules: Mapping[Rule, None]) -> None:
        self._parts = event_type.split(".")
        self._is_too_costly = False
        self.anchors: Anchors = {}
        self.to_look_at = dict(rules)

    def look(self) -> None:
        """Look at the rules that came. Raises `SelectionCostError`, again until rules go."""
        if self._is_too_costly:
            raise SelectionCostError
        looked_at = 0.0
        for rule in self.to_look_at:
            for pattern in rule.patterns:
                wanted = pattern.split(".")
                looked_at += max(1, len(wanted) * len(self._parts) / PATTERN_STEPS)
                if do_match(wanted, self._parts):
                    self.anchors.setdefault(rule.anchor, {})[rule] = None
                    break
            if looked_at > PATTERNS_MAX:
                self._is_too_costly = True
                raise SelectionCostError
        self.to_look_at.clear()

    def forget(self, rule: Rule) -> None:
        """A rule went."""
        self._is_too_costly = False
        self.to_look_at.pop(rule, None)
        rules = self.anchors.get(rule.anchor, {})
        rules.pop(rule, None)
        if not rules:
            self.anchors.pop(rule.anchor, None)


class PatternIndex:
    """Rules that name types by patterns. Which of them select a type is found when it is first met.

    Ten thousand subscriptions may have a million patterns, which take a second to look at: a rule that comes or goes
    makes no other one be looked at again.
    """

    __slots__ = ("_by_type", "_rules")

    def __init__(self) -> None:
        self._rules: dict[Rule, None] = {}
        self._by_type: dict[str, TypeAnchors] = {}

    def add(self, rule: Rule) -> None:
        self._rules[rule] = None
        for known in self._by_type.values():
            known.to_look_at[rule] = None

    def remove(self, rule: Rule) -> None:
        self._rules.pop(rule, None)
        for known in self._by_type.values():
            known.forget(rule)

    def find(self, event_type: str) -> Anchors:
        """The rules that select a type, by label. Raises `SelectionCostError`."""
        if not self._rules:
            return {}
        known = self._by_type.get(event_type)
        if known is None:
            if len(self._by_type) >= PATTERN_TYPES_MAX:
                self._by_type.clear()
            known = self._by_type[event_type] = TypeAnchors(event_type, self._rules)
        if known.to_look_at:
            known.look()
        return known.anchors


class RoutesHistory:
    """One application's event types and rules, in several versions. Changed version by version, oldest first."""

    __slots__ = ("_closed", "_index", "_label_counts", "_patterns", "_rules", "_type_spans", "_types")

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._types: dict[str, EventTypeSpan] = {}
        self._type_spans: dict[str, list[EventTypeSpan]] = {}
        self._closed: deque[Span] = deque()  # by `until`
        self._label_counts: Counter[Label] = Counter()
        # Type → label → the rules that can match only an event with that label. Made when first asked for: many
        # applications never are, and while a topic is read from its start the labels' counts are not known.
        self._index: dict[str, Anchors] | None = None
        self._patterns = PatternIndex()  # made with it

    @property
    def subscription_ids(self) -> list[str]:
        """Ids of the enabled subscriptions of the newest version."""
        return list(self._rules)

    @property
    def event_types(self) -> list[str]:
        """Event types of the newest version."""
        return list(self._types)

    def list_rules(self) -> list[Rule]:
        """Selections of the newest version's enabled subscriptions."""
        return list(self._rules.values())

    def put_rule(
        self,
        subscription_id: str,
        version: int,
        *,
        enabled: bool,
        event_types: Iterable[str],
        labels: Mapping[str, str],
        payload_filter: str | None = None,
    ) -> None:
        """Set a subscription's selection from this version on."""
        rule = self._rules.get(subscription_id)
        if rule is not None:
            if enabled and rule.selects_as(event_types, labels, payload_filter):
                return
            self.drop_rule(subscription_id, version)
        if enabled:
            rule = Rule(subscription_id, version, event_types, labels, payload_filter)
            self._rules[subscription_id] = rule
            self._label_counts.update(rule.labels)
            if self._index is not None:
                self._add_to_index(rule)

    def drop_rule(self, subscription_id: str, version: int) -> None:
        """Remove a subscription from this version on: it is deleted or disabled."""
        rule = self._rules.pop(subscription_id, None)
        if rule is not None:
            self._label_counts.subtract(rule.labels)
            self._close(rule, version)

    def put_type(self, name: str, version: int, schema: TypeSchema = NO_SCHEMA) -> None:
        """Set an event type with its schema from this version on."""
        known = self._types.get(name)
        if known is not None:
            if known.schema == schema:
                return
            self.drop_type(name, version)
        span = self._types[name] = EventTypeSpan(name, version, schema)
        self._type_spans.setdefault(name, []).append(span)

    def drop_type(self, name: str, version: int) -> None:
        """Remove an event type from this version on."""
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
            spans[:] = [each for each in spans if each is not span]
            if not spans:
                del self._type_spans[span.name]

    def has_type(self, name: str, version: int) -> bool:
        """Did the application have this event type in this version?"""
        return any(span.covers(version) for span in self._type_spans.get(name, ()))

    def find_schema(self, name: str, version: int) -> AppliedSchema | None:
        """The schema that payloads of this type are checked against in this version; None: they are not checked."""
        for span in self._type_spans.get(name, ()):
            if span.covers(version) and (schema := span.read_schema()) is not None:
                return AppliedSchema(schema, span.schema.version, refuses=span.schema.mode == "refuse")
        return None

    def match(
        self, event_type: str, labels: Mapping[str, str], version: int, content: Content | None = None
    ) -> list[str]:
        """Subscription ids that select an event of this type with these labels in this version, each once.

        `content`: its payload; without it no subscription with a filter selects the event. Raises `SelectionCostError`.
        """
        index = self._find_index()
        rules = dict.fromkeys(_select(index.get(event_type, {}), labels, version))
        by_pattern = self._patterns.find(event_type)
        if by_pattern and self.has_type(event_type, version):
            rules |= dict.fromkeys(_select(by_pattern, labels, version))
        return [
            rule.name
            for rule in rules
            if rule.accepts is None or (content is not None and content.is_accepted_by(rule.accepts))
        ]

    def _close(self, span: Span, version: int) -> None:
        span.until = version
        self._closed.append(span)

    def _find_index(self) -> dict[str, Anchors]:
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
        if rule.patterns:
            self._patterns.add(rule)

    def _take_from_index(self, rule: Rule) -> None:
        if self._index is None:
            return
        if rule.patterns:
            self._patterns.remove(rule)
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

    def find_schema(self, name: str) -> AppliedSchema | None:
        """The schema that payloads of this type are checked against; None: they are not checked."""
        return None if self.deleted else self._history.find_schema(name, self.version)

    def match(self, event_type: str, labels: Mapping[str, str], content: Content | None = None) -> list[str]:
        """Subscription ids that select an event of this type with these labels and this payload, each once.

        Raises `SelectionCostError`.
        """
        return [] if self.deleted else self._history.match(event_type, labels, self.version, content)


def _select(anchors: Anchors, labels: Mapping[str, str], version: int) -> Iterator[Rule]:
    for rule in anchors.get(None, ()):
        if rule.since <= version < rule.until:
            yield rule
    for label in labels.items():
        for rule in anchors.get(label, ()):
            if rule.since <= version < rule.until and all(labels.get(key) == value for key, value in rule.labels):
                yield rule
