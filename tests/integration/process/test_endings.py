"""Every process of Hookline ends when it should: refused starts and failures in each of its tasks, on real services."""

import asyncio
import re

from tests.support.processes import ROOT
from tests.support.single_process import SingleProcess
from tests.support.stack import run_stack

NEW_KEYS = "new:" + "HxwdHhsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
# 12 starts in make test, 100 in tests/chaos
REFUSED_STARTS = 12
AT_ONCE = 4
# five seconds for the end, the rest for the interpreter and the start on a busy machine
END_TIMEOUT_S = 240.0

# of the loop that both sinks share
CONSUME_LOOP = "connectors/runtime/runtime.py"
SOURCES = {
    "gateway": ("pipeline/gateway/server.py", "pipeline/process.py"),
    "matcher": ("pipeline/matcher/worker.py",),
    "deliver": ("connectors/http/worker.py", CONSUME_LOOP),
    "archive": ("connectors/postgres/worker.py", CONSUME_LOOP),
}
WITH_ALL_TASKS = {"HOOKLINE_GATEWAY_PRODUCER_TOPICS": "true"}
# started only with other settings
NOT_STARTED = {"database_verification"}


def list_tasks(*sources: str) -> list[str]:
    """The tasks that these files start, by the names they give them."""
    tasks = []
    for source in sources:
        text = (ROOT / source).read_text()
        tasks += re.findall(r"supervisor\.start\(\s*\"(\w+)\"", text)
        if source == CONSUME_LOOP:
            (arguments,) = re.findall(r"await together\(\s*stopping,(.*?)\n\s+\)\n", text, re.DOTALL)
            tasks += re.findall(r"^\s+(\w+)=", arguments, re.MULTILINE)
    return [task for task in tasks if task not in NOT_STARTED]


TASKS = {name: list_tasks(*sources) for name, sources in SOURCES.items()}


async def refuse_starts(kafka: str, postgres: str, template: str, *, starts: int) -> list[tuple[int, bool]]:
    """Start gateways with a sealing key that is not the one in use; exit code, and whether the reason was logged."""
    async with run_stack(kafka, postgres, template, "gateway") as stack:
        space = await stack.api.make_space("a.b.c")
        await stack.api.subscribe(space, "http://example.com/", "a.b.c")
        environ = stack.environ | {"HOOKLINE_SEALING_KEYS": NEW_KEYS}
        gate = asyncio.Semaphore(AT_ONCE)

        async def start() -> tuple[int, bool]:
            async with gate:
                process = SingleProcess("gateway", environ)
                await process.start(wait_ready=False)
                code = await process.wait(timeout_s=END_TIMEOUT_S)
                return code, "cannot_start" in process.log()

        return await asyncio.gather(*(start() for _ in range(starts)))


async def test_refused_starts_end(kafka: str, postgres: str, migrated_template: str) -> None:
    """Each with its reason and exit code 2: none hangs on a worker of the pool that swallowed its cancellation."""
    ended = await refuse_starts(kafka, postgres, migrated_template, starts=REFUSED_STARTS)

    assert [(2, True)] * REFUSED_STARTS == ended


async def test_a_failure_in_any_task_ends_the_process(kafka: str, postgres: str, migrated_template: str) -> None:
    """The process ends with exit code 1 and the reason; the gateway's port is closed then."""
    async with run_stack(kafka, postgres, migrated_template) as stack:
        gate = asyncio.Semaphore(AT_ONCE)

        async def fail(name: str, task: str) -> tuple[str, str, int, bool]:
            async with gate:
                process = SingleProcess(name, stack.environ | WITH_ALL_TASKS | {"HOOKLINE_PROCESS_FAIL_AT": task})
                await process.start(wait_ready=False)
                code = await process.wait(timeout_s=END_TIMEOUT_S)
                return name, task, code, f"{task} fails" in process.log()

        ended = []
        for name, tasks in TASKS.items():
            ended += await asyncio.gather(*(fail(name, task) for task in tasks))

    assert [(name, task, 1, True) for name, tasks in TASKS.items() for task in tasks] == ended
