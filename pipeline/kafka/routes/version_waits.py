"""Waiting until a version of an application's routes has been read."""

import asyncio


class VersionWaits:
    """Callers that wait for a version of an application's routes."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}

    def add(self, application_id: str, version: int) -> "asyncio.Future[None]":
        """Done when this version, or a newer one, is applied."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(application_id, []).append((version, future))
        return future

    def remove(self, application_id: str, future: "asyncio.Future[None]") -> None:
        """Wait no more: the application may never have routes."""
        future.cancel()
        self.wake(application_id, 0)

    def wake(self, application_id: str, version: int) -> None:
        """Wake callers: this version is applied."""
        waiting = self._waiting.pop(application_id, [])
        left = [(wanted, future) for wanted, future in waiting if wanted > version and not future.done()]
        for wanted, future in waiting:
            if wanted <= version and not future.done():
                future.set_result(None)
        if left:
            self._waiting[application_id] = left
