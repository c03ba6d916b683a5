"""Processes that a supervisor would start again: a test that damages what they read expects some of them to end."""

from collections.abc import Collection, Iterable

from tests.support.pace import paced
from tests.support.single_process import SingleProcess

LOOK_INTERVAL_S = 0.05


async def keep_running(
    processes: Iterable[SingleProcess], ended: list[int], *, held: Collection[SingleProcess] = ()
) -> None:
    """Start processes again that end, unless they are `held`; append exit codes to `ended`. Ends by cancelling."""
    processes = list(processes)
    async for _ in paced(LOOK_INTERVAL_S, skips_missed=True):
        for process in processes:
            if not process.is_running and process not in held:
                ended.append(await process.wait())
                await process.start(wait_ready=False)
