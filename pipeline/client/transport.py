"""Requests and answers, below the operations."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    TCPConnector,
)

from pipeline.client.answers import Answer
from pipeline.client.errors import AddressError, ProblemError, UnreachableError, read_retry_after

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"
SHOWN_MAX_CHARS = 300


class Transport:
    """An async context manager: one pool of connections."""

    def __init__(self, base_url: str, token: str, *, timeout_s: float = 30.0, connections_max: int = 100) -> None:
        """`base_url` ends in /api/v1. `token`: a secret, a service token, an access token or the master key."""
        self.base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._session: ClientSession | None = None

    async def __aenter__(self) -> "Any":
        self._session = ClientSession(
            timeout=ClientTimeout(total=self._timeout_s),
            connector=TCPConnector(limit=self._connections_max),
            cookie_jar=DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        parts: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: object = None,
        content_type: str = JSON_TYPE,
    ) -> Answer[Any]:
        """One request. `path` has `{names}` of `parts`; what is None in `query` and `headers` is left out.

        A body that is not JSON is answered as bytes. Raises `ProblemError`, `UnreachableError`.
        """
        assert self._session is not None, "use it with `async with`"  # noqa: S101 - a mistake of the caller's code
        place = path.format_map({name: quote(value, safe="") for name, value in (parts or {}).items()})
        asked = f"{method} {self.base_url}{place}"
        sent = self._headers | {name: value for name, value in (headers or {}).items() if value is not None}
        data = None
        if body is not None:
            data, sent = json.dumps(body).encode(), sent | {"Content-Type": content_type}
        try:
            async with self._session.request(
                method, self.base_url + place, params=_show_query(query or {}), headers=sent, data=data,
                allow_redirects=False,
            ) as response:  # fmt: skip
                content = await response.read()
                kind = response.content_type if "Content-Type" in response.headers else ""
                answered = {name.lower(): value for name, value in response.headers.items()}
                status = response.status
        except InvalidURL as error:
            raise AddressError(f"{self.base_url!r} is no address; it looks like http://host:port/api/v1") from error
        except (ClientError, TimeoutError) as error:
            raise UnreachableError(f"{asked} was not answered: {error or type(error).__name__}") from error
        try:
            found = json.loads(content) if kind in (JSON_TYPE, PROBLEM_TYPE) and content else content
        except ValueError as error:
            raise UnreachableError(f"{asked} was answered {status} with what is no JSON: {_cut(content)}") from error
        if status < 400:  # a browser is sent to a provider by 302
            return Answer(status=status, headers=answered, body=found)
        if isinstance(found, dict) and "id" in found:
            raise ProblemError(asked, status, found, retry_after_s=read_retry_after(answered.get("retry-after")))
        raise UnreachableError(f"{asked} was answered {status} and no problem of the API: {_cut(content)}")


def _show_query(query: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value is not None}


def _cut(content: bytes) -> str:
    return content.decode(errors="replace")[:SHOWN_MAX_CHARS]
