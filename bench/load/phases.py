"""A case while it runs: one phase after the other, with the load and the answers that each has."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bench.cases.scenario import Burst, Case, InFlight, Phase
from bench.errors import BenchError
from bench.evaluation.phase_time import PhaseTime
from bench.instruments.child import BenchChild
from bench.instruments.plan import Answer, Command, GeneratorProgress, ReceiverProgress
from bench.staging.provisioning import Provisioned
from pipeline.clock import wall_us
from pipeline.core.units import SECOND_US

START_AFTER_S = 0.2  # from the command to the first event
LOOK_INTERVAL_S = 0.05
LIMIT_INTERVAL_S = 0.2  # asks the archive each time, which costs it about two milliseconds


class Course:
    """Runs the phases of a case. `count_archived`: attempts in the archive since the run began; None: not known.

    `on_boundary`: called with the phase that begins, None after the last.
    """

    def __init__(
        self,
        case: Case,
        groups: Sequence[Provisioned],
        *,
        generator: BenchChild[GeneratorProgress],
        receiver: BenchChild[ReceiverProgress],
        count_archived: Callable[[], Awaitable[float | None]],
        on_boundary: Callable[[Phase | None], Awaitable[None]],
    ) -> None:
        self._case = case
        self._groups = groups
        self._numbers = {group.group.name: number for number, group in enumerate(groups)}
        self._generator = generator
        self._receiver = receiver
        self._count_archived = count_archived
        self._on_boundary = on_boundary

    async def run(self) -> list[PhaseTime]:
        """All phases; when they were. The load goes on until the last one ends. Raises `BenchError`."""
        times: list[PhaseTime] = []
        async with asyncio.TaskGroup() as tasks:
            limiting = [tasks.create_task(self._limit(number)) for number in self._list_limited()]
            start_us = 0
            for index, phase in enumerate(self._case.phases):
                await self._on_boundary(phase)
                start_us = start_us or _now_us() + round(START_AFTER_S * SECOND_US)
                await self._begin(phase, start_us, is_first=index == 0)
                end_us = await self._last(phase, start_us)
                times.append(PhaseTime(phase=phase, start_us=start_us, end_us=end_us))
                start_us = end_us
            for number in range(len(self._groups)):
                await self._generator.tell(Command(do="stop", stream=number))
            await self._on_boundary(None)
            for task in limiting:
                task.cancel()
        return times

    async def _begin(self, phase: Phase, start_us: int, *, is_first: bool) -> None:
        await self.answer(phase.answers)
        for number, group in enumerate(self._groups):
            starts_in = group.group.starts_in
            if starts_in == phase.name or (starts_in is None and is_first):
                await self._generator.tell(Command(do="start", stream=number, at_us=start_us))

    async def answer(self, answers: Mapping[str, Answer]) -> None:
        """Let the endpoints of groups answer so from now on."""
        for name, answer in answers.items():
            group = self._groups[self._numbers[name]]
            await self._receiver.tell(Command(do="answer", first=group.first, end=group.end, answer=answer))

    async def _last(self, phase: Phase, start_us: int) -> int:
        """Wait for the phase's end; when it was."""
        end_us = start_us + round(phase.seconds * SECOND_US)
        while (now_us := _now_us()) < end_us:
            if self._is_over(phase):
                return now_us
            await asyncio.sleep(min(LOOK_INTERVAL_S, (end_us - now_us) / SECOND_US))
        if phase.until_accepted is not None or phase.until_delivered is not None:
            raise BenchError(f"the phase {phase.name!r} was not over after {phase.seconds:g} s")
        return end_us

    def _is_over(self, phase: Phase) -> bool:
        if phase.until_accepted is not None:
            number = self._numbers[phase.until_accepted]
            load = self._groups[number].group.load
            assert isinstance(load, Burst)  # noqa: S101 - a phase without an end is not waited for
            return self._generator.last.accepted[number] >= load.events
        if phase.until_delivered is not None:
            number = self._numbers[phase.until_delivered]
            accepted = self._generator.last.accepted[number]
            return self._receiver.last.received[number] >= accepted * self._groups[number].group.fan_out
        return False

    def _list_limited(self) -> list[int]:
        return [number for number, group in enumerate(self._groups) if isinstance(group.group.load, InFlight)]

    async def _limit(self, number: int) -> None:
        """Allow as many events as have come out at the other end, and a few more."""
        group = self._groups[number].group
        assert isinstance(group.load, InFlight)  # noqa: S101 - one of those listed
        while True:
            done = float(self._receiver.last.received[number])
            archived = await self._count_archived()
            if archived is not None:
                done = min(done, archived)
            total = int(done / group.fan_out) + group.load.events_max
            await self._generator.tell(Command(do="allow", stream=number, total=total))
            await asyncio.sleep(LIMIT_INTERVAL_S)


def _now_us() -> int:
    return wall_us()
