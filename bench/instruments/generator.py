"""The load generator, a process: `python -m bench.instruments.generator PLAN`."""

import asyncio
import gc
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

from bench.instruments.child_side import read_commands, say
from bench.instruments.fine_timer import FineTimer
from bench.instruments.journal import write_columns
from bench.instruments.plan import Command, GeneratorPlan, GeneratorProgress, read_plan
from bench.instruments.request import RequestWriter
from bench.instruments.stream import Stream
from pipeline.supervisor import run_together

REPORT_INTERVAL_S = 0.1
REST_TIMEOUT_S = 30.0  # for the last answers
RUN_IDS = 4096


class Generator:
    """All streams of a plan."""

    def __init__(self, plan: GeneratorPlan) -> None:
        self._plan = plan
        self._timer = FineTimer()
        run_id = random.randrange(RUN_IDS)  # noqa: S311 - tells runs apart, guards nothing
        self._streams = [
            Stream(
                stream,
                RequestWriter(
                    stream,
                    api=plan.apis[0],
                    payloads=stream.payloads or plan.payloads,
                    has_event_ids=plan.has_event_ids,
                    run_id=run_id,
                ),
                apis=plan.apis,
                timer=self._timer,
            )
            for stream in plan.streams
        ]
        self._is_saved = False
        loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = loop.create_future()
        # a mistake of ours in a callback must not pass for an answer that did not come
        loop.set_exception_handler(lambda _, context: self._fail(context))

    async def run(self) -> None:
        """Connect, and follow commands until there are no more: they end with the parent."""
        for stream in self._streams:
            await stream.connect()
        # nothing here makes cycles; a collection over a million numbers would delay due events
        gc.disable()
        await run_together(
            asyncio.Event(), commands=self._follow(), reports=self._report_regularly(), failure=self._wait_failure()
        )

    async def _follow(self) -> None:
        async for command in read_commands():
            if command.do == "finish":
                await self._finish()
            else:
                self._do(command)

    async def _finish(self) -> None:
        """Wait for the last answers, then write the journal. The process stays: its use of resources is sampled."""
        for stream in self._streams:
            stream.stop()
        await self._rest()
        self._timer.close()
        for stream in self._streams:
            await stream.close()
        self._save()

    async def _wait_failure(self) -> None:
        await self._failure

    def _fail(self, context: dict[str, Any]) -> None:
        if not self._failure.done():
            self._failure.set_exception(context.get("exception") or RuntimeError(context["message"]))

    def _do(self, command: Command) -> None:
        stream = self._streams[command.stream] if self._streams else None
        match command.do, stream:
            case "start", Stream():
                stream.start(command.at_us)
            case "stop", Stream():
                stream.stop()
            case "allow", Stream():
                stream.allow(command.total)
            case _:
                raise ValueError(f"{command.do} is no command")

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(REST_TIMEOUT_S):
                while not all(stream.is_at_rest for stream in self._streams):  # noqa: ASYNC110 - answers are many
                    await asyncio.sleep(REPORT_INTERVAL_S)
        except TimeoutError:
            return  # requests without an answer by now stay without one

    async def _report_regularly(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(REPORT_INTERVAL_S)

    def _report(self) -> None:
        say(
            GeneratorProgress(
                due=[stream.due_events for stream in self._streams],
                sent=[stream.sent_events for stream in self._streams],
                accepted=[stream.accepted for stream in self._streams],
                failed=[stream.failed for stream in self._streams],
                is_saved=self._is_saved,
            )
        )

    def _save(self) -> None:
        folder = Path(self._plan.journal_dir)
        for number, stream in enumerate(self._streams):
            write_columns(folder, f"sent.{number}", stream.columns)
            (folder / f"refused.{number}.json").write_bytes(msgspec.json.encode(stream.refused))
        self._is_saved = True
        self._report()


async def main(path: Path) -> None:
    """Run a plan."""
    await Generator(read_plan(path, GeneratorPlan)).run()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(Path(sys.argv[1])))
