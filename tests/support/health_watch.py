"""Health of processes while something happens to the services they need."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import aiohttp

from tests.support.pace import paced
from tests.support.single_process import SingleProcess
from tests.support.stack import Stack

LOOK_INTERVAL_S = 0.25
ANSWER_TIMEOUT_S = 5.0


class Look(NamedTuple):
    """One answer of `/health`. `status` 0: there was none."""

    at_s: float
    status: int
    problems: Mapping[str, str]


class Red(NamedTuple):
    """A process was not ready from one time to another. `problems`: by name, as they were said last."""

    process: str
    begun_s: float
    ended_s: float
    problems: Mapping[str, str]


class HealthWatch:
    """Looks at every process of a stack while `run` runs. Monotonic times."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._looks: dict[str, list[Look]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        urls = {
            f"{name}.{number}" if number else name: await _find_url(process)
            for name, processes in self._stack.processes.items()
            for number, process in enumerate(processes)
        }
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async for _ in paced(LOOK_INTERVAL_S, skips_missed=True):
                await asyncio.gather(*(self._look(session, name, url) for name, url in urls.items()))

    def are_well(self, *, since_s: float = 0.0) -> bool:
        """Did every process say that nothing is wrong when it was looked at last, after `since_s`?"""
        last = {name: looks[-1] for name, looks in self._looks.items()}
        wrong = {
            name: look for name, look in last.items() if look.status != 200 or look.problems or look.at_s < since_s
        }
        assert not wrong, wrong
        return bool(last)

    def list_red(self, begun_s: float, ended_s: float) -> list[Red]:
        """The spans in which processes were not ready, of this time."""
        return [
            red
            for name, looks in self._looks.items()
            for red in find_red(name, [look for look in looks if begun_s <= look.at_s <= ended_s])
        ]

    def list_said(self, begun_s: float, ended_s: float) -> dict[str, set[str]]:
        """Names of the problems that each process has said, of this time."""
        return {
            name: {problem for look in looks if begun_s <= look.at_s <= ended_s for problem in look.problems}
            for name, looks in self._looks.items()
        }

    async def _look(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        at_s = time.monotonic()
        try:
            async with session.get(url) as response:
                look = Look(at_s, response.status, (await response.json())["problems"])
        except (aiohttp.ClientError, TimeoutError) as error:
            look = Look(at_s, 0, {"health": f"{type(error).__name__}: {error}"})
        self._looks.setdefault(name, []).append(look)


def find_red(name: str, looks: Sequence[Look]) -> list[Red]:
    """The times of one process in which it was not ready, from its looks in order."""
    spans: list[Red] = []
    is_red = False
    for look in looks:
        if look.status == 200:
            if is_red:
                spans[-1] = spans[-1]._replace(ended_s=look.at_s)
            is_red = False
            continue
        if is_red:
            spans[-1] = spans[-1]._replace(ended_s=look.at_s, problems={**spans[-1].problems, **look.problems})
        else:
            spans.append(Red(name, look.at_s, look.at_s, look.problems))
        is_red = True
    return spans


async def _find_url(process: SingleProcess) -> str:
    return (await process.wait_ready())["metrics"].removesuffix("/metrics") + "/health"
