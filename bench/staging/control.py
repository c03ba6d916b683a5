"""The HTTP API as a benchmark uses it before the load: organizations, applications, secrets, subscriptions."""

import json
from types import TracebackType
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from bench.errors import BenchError

TIMEOUT_S = 60.0
DONE = (200, 201, 204)


class Control:
    """An async context manager. `api` ends in /api/v1."""

    def __init__(self, api: str, token: str) -> None:
        self._api = api
        self._token = token

    async def __aenter__(self) -> "Control":
        self._session = ClientSession(
            timeout=ClientTimeout(total=TIMEOUT_S),
            cookie_jar=DummyCookieJar(),
            headers={"Authorization": f"Bearer {self._token}"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST; the answer. Raises `BenchError`."""
        answer = await self._call("POST", path, body)
        if not isinstance(answer, dict):
            raise BenchError(f"the gateway's answer to POST {path} is no object: {answer}")
        return answer

    async def delete(self, path: str) -> None:
        """DELETE. Raises `BenchError`."""
        await self._call("DELETE", path, None)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            async with self._session.request(method, self._api + path, json=body) as response:
                text = await response.text()
        except (ClientError, TimeoutError) as error:
            raise BenchError(
                f"the gateway at {self._api} did not answer {method} {path}: {error or type(error).__name__}"
            ) from error
        if response.status not in DONE:
            raise BenchError(f"the gateway refused {method} {path} with {response.status}: {text}")
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise BenchError(f"the gateway's answer to {method} {path} is no JSON: {text[:200]}") from error
