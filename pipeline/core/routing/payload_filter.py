"""Filters over payloads: which events a subscription wants, by what is in them. Pure.

A filter is JSON: `{"all": [...]}`, `{"any": [...]}`, `{"not": ...}`, or a condition `{"path", "op", "value"}`, with
a JSON pointer (RFC 6901). What is not there, and what cannot be compared, fulfils no condition but `exists: false`.
The size of a filter is bounded; there are no patterns in it. What one filter costs depends on the payload, and what an
event costs on the number of filters: `Content` finds and looks through each place once for all of them, within
`SCANNED_MAX`, because all applications share the loop in which it does.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from pipeline.core.events.content_types import JSON_TYPE

CONDITIONS_MAX = 32
DEPTH_MAX = 8
PATH_MAX_CHARS = 200
PATH_MAX_PARTS = 16
VALUES_MAX = 32
TEXT_MAX_BYTES = 4096
# Elements of lists that `contains` looks at for one event, over all filters; some 20 ns each. Of a text, so many
# characters take as long as one. One filter at its limits, with the longest payload, stays below.
SCANNED_MAX = 16_000_000
TEXT_CHARS = 8
SORTED_MIN = 64
MISSING: Any = object()
INDEX = re.compile("0|[1-9][0-9]{0,8}")


class FilterError(ValueError):
    """The fault of a filter, as a sentence without its subject."""


class SelectionCostError(Exception):
    """An application's subscriptions look at more, to select an event, than one event may cost."""


class PayloadFilter(Protocol):
    """Decides about a payload that is JSON."""

    def accepts(self, content: "Content") -> bool: ...


class Content:
    """A payload, parsed when a filter first asks for it."""

    __slots__ = ("_answers", "_content_type", "_elements", "_found", "_payload", "_scanned", "_value")

    def __init__(self, payload: bytes, content_type: str) -> None:
        self._payload = payload
        self._content_type = content_type
        self._value: Any = None
        self._found: dict[tuple[str, ...], Any] = {}
        self._answers: dict[tuple[tuple[str, ...], type, Any], bool] = {}
        self._elements: dict[tuple[str, ...], Elements | None] = {}  # of lists; None: searched once
        self._scanned = 0

    @property
    def is_json(self) -> bool:
        """Can the payload be read?"""
        if self._value is None:
            self._value = (self._parse(),)
        return self._value[0] is not MISSING

    def is_accepted_by(self, wanted: PayloadFilter) -> bool:
        """No filter accepts what is not JSON. Raises `SelectionCostError`."""
        return self.is_json and wanted.accepts(self)

    def find(self, parts: tuple[str, ...]) -> Any:
        """The value at a path, or `MISSING`."""
        try:
            return self._found[parts]
        except KeyError:
            found = self._found[parts] = _find(self._value[0], parts)
            return found

    def contains(self, parts: tuple[str, ...], wanted: Any) -> bool:
        """Is `wanted` a part of the text, or an element of the list, at a path? Raises `SelectionCostError`."""
        # numbers that filters choose would collide in a dict; `true` and 1 are slow to tell apart
        if not isinstance(wanted, str) and wanted not in (0, 1):
            return self._scan(parts, wanted)
        key = (parts, type(wanted), wanted)
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = self._scan(parts, wanted)
        return known

    def _scan(self, parts: tuple[str, ...], wanted: Any) -> bool:
        value = self.find(parts)
        if isinstance(value, list):
            self._scanned += len(value)
        elif isinstance(value, str):
            self._scanned += len(value) // TEXT_CHARS
        if self._scanned > SCANNED_MAX:
            raise SelectionCostError
        if not isinstance(value, list) or len(value) < SORTED_MIN:
            return _contains(value, wanted)
        if parts not in self._elements:
            self._elements[parts] = None
            return _contains(value, wanted)
        elements = self._elements[parts]
        if elements is None:
            elements = self._elements[parts] = Elements(value)
        return elements.have(wanted)

    def _parse(self) -> Any:
        if self._content_type != JSON_TYPE:
            return MISSING
        try:
            return msgspec.json.decode(self._payload)
        except (msgspec.DecodeError, RecursionError, ValueError):
            return MISSING


class Elements:
    """The elements of a long list that is searched again, in order: each further search takes no time.

    A sender cannot make this slow: numbers, whose hashes it could choose, are sorted; those of texts are secret.
    """

    __slots__ = ("_constants", "_numbers", "_texts")

    def __init__(self, values: list[Any]) -> None:
        self._texts = {each for each in values if isinstance(each, str)}
        self._numbers = sorted(each for each in values if type(each) in (int, float))
        self._constants = {each for each in values if each is None or each is True or each is False}

    def have(self, wanted: Any) -> bool:
        """Is the value one of the elements?"""
        if isinstance(wanted, str):
            return wanted in self._texts
        if wanted is None or isinstance(wanted, bool):
            return wanted in self._constants
        place = bisect_left(self._numbers, wanted)
        return place < len(self._numbers) and self._numbers[place] == wanted


class Every:
    """Every one of them."""

    __slots__ = ("filters",)

    def __init__(self, filters: tuple[PayloadFilter, ...]) -> None:
        self.filters = filters

    def accepts(self, content: Content) -> bool:
        return all(each.accepts(content) for each in self.filters)


class Some:
    """One of them at least."""

    __slots__ = ("filters",)

    def __init__(self, filters: tuple[PayloadFilter, ...]) -> None:
        self.filters = filters

    def accepts(self, content: Content) -> bool:
        return any(each.accepts(content) for each in self.filters)


class Not:
    """The opposite."""

    __slots__ = ("inner",)

    def __init__(self, inner: PayloadFilter) -> None:
        self.inner = inner

    def accepts(self, content: Content) -> bool:
        return not self.inner.accepts(content)


class Condition:
    """One comparison of what stands at a path."""

    __slots__ = ("compare", "parts", "wanted")

    def __init__(self, parts: tuple[str, ...], compare: Callable[[Any, Any], bool], wanted: Any) -> None:
        self.parts = parts
        self.compare = compare
        self.wanted = wanted

    def accepts(self, content: Content) -> bool:
        return self.compare(content.find(self.parts), self.wanted)


class Containing:
    """Whether the text or the list at a path contains a value: what is looked through is counted."""

    __slots__ = ("parts", "wanted")

    def __init__(self, parts: tuple[str, ...], wanted: Any) -> None:
        self.parts = parts
        self.wanted = wanted

    def accepts(self, content: Content) -> bool:
        return content.contains(self.parts, self.wanted)


class Never:
    """Stands for a filter that this process cannot read; matches nothing, rather than sending unwanted events."""

    __slots__ = ()

    def accepts(self, _: Content) -> bool:
        return False


def compile_text(text: str) -> PayloadFilter:
    """The filter of a subscription, as it is stored."""
    try:
        return parse_filter(msgspec.json.decode(text))
    except (FilterError, msgspec.DecodeError):
        return Never()


def parse_filter(form: object) -> PayloadFilter:
    """A filter of its JSON. Raises `FilterError`."""
    if len(msgspec.json.encode(form)) > TEXT_MAX_BYTES:
        raise FilterError(f"has more than {TEXT_MAX_BYTES} bytes")
    if count_conditions(form) > CONDITIONS_MAX:
        raise FilterError(f"has more than {CONDITIONS_MAX} conditions")
    return _parse(form, depth=1)


def count_conditions(form: object) -> int:
    """The number of conditions of a filter, at all levels."""
    match form:
        case {"all": [*inner]} | {"any": [*inner]}:
            return sum(count_conditions(each) for each in inner)
        case {"not": inner_one}:
            return count_conditions(inner_one)
    return 1


def _parse(form: object, *, depth: int) -> PayloadFilter:
    if depth > DEPTH_MAX:
        raise FilterError(f"is more than {DEPTH_MAX} levels deep")
    if not isinstance(form, Mapping):
        raise FilterError("must be an object")
    match dict(form):
        case {"all": [_, *_] as inner, **rest} if not rest:
            return Every(tuple(_parse(each, depth=depth + 1) for each in inner))
        case {"any": [_, *_] as inner, **rest} if not rest:
            return Some(tuple(_parse(each, depth=depth + 1) for each in inner))
        case {"not": inner, **rest} if not rest:
            return Not(_parse(inner, depth=depth + 1))
        case {"path": str(path), "op": str(op), "value": value, **rest} if not rest and op in OPERATORS:
            compare, is_allowed, wanted = OPERATORS[op]
            if not is_allowed(value):
                raise FilterError(f"`{op}` needs {wanted} as its value")
            if op == CONTAINS:
                return Containing(_split(path), value)
            return Condition(_split(path), compare, value)
    raise FilterError(
        f"must be `all` or `any` with a list, `not` with a filter, or `path`, `op` ({', '.join(OPERATORS)}) and `value`"
    )


def _split(path: str) -> tuple[str, ...]:
    if path and not path.startswith("/"):
        raise FilterError("has a path that does not begin with `/` (RFC 6901)")
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    if len(path) > PATH_MAX_CHARS or len(parts) > PATH_MAX_PARTS:
        raise FilterError(f"has a path of more than {PATH_MAX_CHARS} characters or {PATH_MAX_PARTS} parts")
    return parts


def _find(value: Any, parts: tuple[str, ...]) -> Any:
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and INDEX.fullmatch(part):
            value = value[int(part)] if int(part) < len(value) else MISSING
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value


def _is_same(one: Any, other: Any) -> bool:
    # to Python `True` is 1; to JSON it is not
    return isinstance(one, bool) == isinstance(other, bool) and one is not MISSING and bool(one == other)


def _are_comparable(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return (isinstance(one, int | float) and isinstance(other, int | float)) or (
        isinstance(one, str) and isinstance(other, str)
    )


def _contains(one: Any, other: Any) -> bool:
    if isinstance(one, str):
        return isinstance(other, str) and other in one
    return isinstance(one, list) and _is_in(other, one)


def _is_in(one: Any, others: Any) -> bool:
    # looks at each without a step of Python's; where it finds what is equal, that may be 1 for true
    return one in others and any(_is_same(one, each) for each in others)


def _is_present(one: Any, wanted: Any) -> bool:
    return (one is not MISSING) is wanted


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_ordered(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= VALUES_MAX and all(map(_is_scalar, value))


Operator = tuple[Callable[[Any, Any], bool], Callable[[Any], bool], str]
CONTAINS = "contains"
OPERATORS: dict[str, Operator] = {
    "eq": (_is_same, _is_scalar, "a text, a number, true, false or null"),
    "ne": (
        lambda one, other: one is not MISSING and not _is_same(one, other),
        _is_scalar,
        "a text, a number, true, false or null",
    ),
    "gt": (lambda one, other: _are_comparable(one, other) and one > other, _is_ordered, "a number or a text"),
    "gte": (lambda one, other: _are_comparable(one, other) and one >= other, _is_ordered, "a number or a text"),
    "lt": (lambda one, other: _are_comparable(one, other) and one < other, _is_ordered, "a number or a text"),
    "lte": (lambda one, other: _are_comparable(one, other) and one <= other, _is_ordered, "a number or a text"),
    "in": (_is_in, _is_list, f"a list of 1 to {VALUES_MAX} values"),
    "starts_with": (lambda one, other: isinstance(one, str) and one.startswith(other), _is_text, "a text"),
    "ends_with": (lambda one, other: isinstance(one, str) and one.endswith(other), _is_text, "a text"),
    CONTAINS: (_contains, _is_scalar, "a text, a number, true, false or null"),
    "exists": (_is_present, _is_bool, "true or false"),
}
