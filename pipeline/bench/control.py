"""The HTTP API as a benchmark uses it before the load: organizations, applications, secrets, subscriptions."""

from types import TracebackType
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from pipeline.bench.errors import BenchError

TIMEOUT_S = 60.0
CREATED = (200, 201)


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
        try:
            async with self._session.post(self._api + path, json=body) as response:
                answer = await response.json(content_type=None)
        except (ClientError, TimeoutError, ValueError) as error:
            raise BenchError(f"the gateway at {self._api} did not answer POST {path}: {error!r}") from error
        if response.status not in CREATED or not isinstance(answer, dict):
            raise BenchError(f"the gateway refused POST {path} with {response.status}: {answer}")
        return answer
