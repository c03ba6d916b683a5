"""A small Confluent schema registry for tests: a real HTTP server that can be away, and counts what it is asked."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import encode_basic_auth, web

USER, PASSWORD = "hookline", "not very secret"
NOT_FOUND = {"error_code": 40403, "message": "Schema not found"}


@dataclass(slots=True)
class SchemaRegistry:
    """An async context manager. `schemas`: by id, as `GET /schemas/ids/{id}` answers. `is_away`: it answers 503.

    `missing_takes_s`: how long it looks for a schema that it does not have.
    `versions`: by subject and version, as `GET /subjects/{subject}/versions/{version}` answers.
    """

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    is_away: bool = False
    missing_takes_s: float = 0.0
    asked: list[int] = field(default_factory=list)
    url: str = ""
    runner: web.AppRunner | None = None

    async def __aenter__(self) -> "SchemaRegistry":
        app = web.Application()
        app.router.add_get("/schemas/ids/{id}", self._show)
        app.router.add_get("/subjects/{subject}/versions/{version}", self._show_version)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    async def _show(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != encode_basic_auth(USER, PASSWORD):
            return web.json_response({"error_code": 401, "message": "Unauthorized"}, status=401)
        schema_id = int(request.match_info["id"])
        self.asked.append(schema_id)
        if self.is_away:
            return web.json_response({"error_code": 50001, "message": "Error in the backend data store"}, status=503)
        if schema_id not in self.schemas:
            await asyncio.sleep(self.missing_takes_s)
        return self._answer(self.schemas.get(schema_id))

    async def _show_version(self, request: web.Request) -> web.Response:
        return self._answer(self.versions.get((request.match_info["subject"], int(request.match_info["version"]))))

    def _answer(self, found: dict[str, Any] | None) -> web.Response:
        return web.json_response(found if found is not None else NOT_FOUND, status=200 if found is not None else 404)
