"""Every setting in words, for those who list them: `hookline settings`, the reference, the API."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.config import PREFIX, Settings

HIDDEN = "(set, not shown)"
# The end of a setting's name says its unit; longer endings first.
UNITS = {
    "_max_records": "records",
    "_max_bytes": "bytes",
    "_min_bytes": "bytes",
    "_max_chars": "characters",
    "_mib": "MiB",
    "_days": "days",
    "_per_s": "per second",
    "_s": "seconds",
}
# The one secret that is not a SecretStr: it is a UUID as well.
SECRET_NAMES = frozenset({"master_api_key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting, in words. `value` is None when nothing is set; secrets read `(set, not shown)`."""

    section: str
    variable: str
    meaning: str
    default: str | None
    value: str | None
    unit: str | None
    bounds: str | None
    is_given: bool
    is_secret: bool


def list_rows(current: Settings, given: frozenset[str]) -> list[SettingRow]:
    """Every setting of `current`. `given`: the variables that are set in the environment."""
    rows = []
    for section in type(current).model_fields:
        values = getattr(current, section)
        for name, field in type(values).model_fields.items():
            variable = f"{PREFIX}{section}_{name}".upper()
            value = getattr(values, name)
            is_secret = name in SECRET_NAMES or "SecretStr" in str(field.annotation)
            rows.append(
                SettingRow(
                    section=type(values).__doc__ or section,
                    variable=variable,
                    meaning=field.description or "",
                    default=_format(field.default, is_secret=False),
                    value=_format(value, is_secret=is_secret),
                    unit=next((unit for ending, unit in UNITS.items() if name.endswith(ending)), None),
                    bounds=_describe_bounds(field),
                    is_given=variable in given,
                    is_secret=is_secret,
                )
            )
    return rows


def _format(value: object, *, is_secret: bool) -> str | None:
    if value is None or value == ():
        return None
    if is_secret or isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, tuple):
        return HIDDEN if isinstance(value[0], SecretStr) else " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe_bounds(field: FieldInfo) -> str | None:
    words = list(_list_bounds(field.metadata))
    return ", ".join(words) or None


def _list_bounds(metadata: list[Any]) -> Iterator[str]:
    for attribute, word in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        bound = next(
            (getattr(item, attribute) for item in metadata if getattr(item, attribute, None) is not None), None
        )
        if bound is not None:
            yield f"{word} {bound}"
    pattern = next((item.pattern for item in metadata if getattr(item, "pattern", None)), None)
    if pattern is not None:
        yield f"matches {pattern}"
