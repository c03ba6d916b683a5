"""The secrets of the subscriptions of a demo, read again and again: new ones come, others are rotated."""

import asyncio
import contextlib

from pipeline.client import ApiError, Client
from pipeline.commands.listen.keys import Keys
from pipeline.commands.up.report import Report

READ_INTERVAL_S = 2.0


class Lender:
    """Lends the secrets to `keys`."""

    def __init__(self, report: Report, keys: Keys) -> None:
        self._report = report
        self._keys = keys

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await asyncio.sleep(READ_INTERVAL_S)
            await self.read()

    async def read(self) -> None:
        """Read once. An API that is away leaves what was read last."""
        with contextlib.suppress(ApiError, ValueError):
            async with Client(self._report.api, self._report.application_secret) as client:
                answer = await client.list_subscriptions(application_id=self._report.application_id)
                self._keys.lend([each["secret"] for each in answer.body])
