"""Answers of operations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")
NEXT = re.compile(r'<([^>]*)>;\s*rel="next"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """`headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: T

    @property
    def etag(self) -> str | None:
        """The value to send as `if_match` with a change of the object that was read."""
        return self.headers.get("etag")

    @property
    def next_page(self) -> dict[str, str] | None:
        """The query of the next page, to ask with the same method; None: this is the last one."""
        found = NEXT.search(self.headers.get("link", ""))
        return {name: values[-1] for name, values in parse_qs(urlsplit(found[1]).query).items()} if found else None
