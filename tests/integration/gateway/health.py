"""Health of a process, as its own port tells it."""

import json

import aiohttp

from tests.support.api import Reply
from tests.support.single_process import SingleProcess


async def read_health(process: SingleProcess) -> Reply:
    url = (await process.wait_ready())["metrics"].removesuffix("/metrics") + "/health"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return Reply(response.status, dict(response.headers), json.dumps(await response.json()).encode())
