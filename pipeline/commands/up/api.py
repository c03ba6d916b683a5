"""The HTTP API as `hookline up` uses it: like any other client, with the master key."""

from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from pipeline.start_error import StartError

TIMEOUT_S = 30.0
MISSING = (403, 404)  # missing and forbidden are indistinguishable


class Api:
    """An async context manager. `base` ends in /api/v1."""

    def __init__(self, base: str, token: str) -> None:
        self._base = base
        self._token = token

    async def __aenter__(self) -> "Api":
        self._session = ClientSession(
            timeout=ClientTimeout(total=TIMEOUT_S), cookie_jar=DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST; the answer. Raises `StartError`."""
        answer = await self._call("POST", path, body=body)
        return self._require(answer, path)

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT; the answer. Raises `StartError`."""
        answer = await self._call("PUT", path, body=body)
        return self._require(answer, path)

    async def find(self, path: str, *, token: str | None = None) -> Any:
        """GET, with another token if one is given; None when there is no such thing. Raises `StartError`."""
        return await self._call("GET", path, token=token)

    async def _call(self, method: str, path: str, *, body: Any = None, token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token or self._token}"}
        try:
            async with self._session.request(method, self._base + path, json=body, headers=headers) as response:
                if response.status in MISSING and method == "GET":
                    return None
                answer = await response.json(content_type=None)
        except (ClientError, TimeoutError, ValueError) as error:
            raise StartError(f"the gateway did not answer {method} {path}: {error!r}") from error
        if response.status not in (200, 201):
            detail = answer.get("detail") if isinstance(answer, dict) else answer
            raise StartError(f"the gateway refused {method} {path} with {response.status}: {detail}")
        return answer

    def _require(self, answer: Any, path: str) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise StartError(f"the gateway's answer to {path} is no object")
        return answer
