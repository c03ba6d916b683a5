"""Everything in place for a run: endpoints and what leads to them, the instruments, and who watches."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cases.payloads import STAMP_BYTES, generate_payload
from bench.cases.scenario import Burst, Case, Closed, Group, InFlight, Open, Rising, Share
from bench.errors import BenchError
from bench.instruments.child import BenchChild
from bench.instruments.plan import (
    GeneratorPlan,
    GeneratorProgress,
    Pace,
    ReceiverPlan,
    ReceiverProgress,
    StreamPlan,
    write_plan,
)
from bench.sampling.accounting import Meter
from bench.sampling.sampler import Sample, Sampler
from bench.staging.control import Control
from bench.staging.installation import Installation
from bench.staging.preparation import prepare
from bench.staging.provisioning import Provisioned, provision, remove
from pipeline.config import DatabaseConfig, KafkaConfig
from pipeline.postgres.pool import Pool, open_pool

CHILD_START_TIMEOUT_S = 30.0
PAYLOAD_VARIETY = 8  # of a group with its own payloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """Payloads of events, and their source in words."""

    payloads: list[str]
    source: str

    def mean_bytes(self) -> float:
        """The mean size of a payload, with its mark."""
        return sum(len(payload.encode()) for payload in self.payloads) / len(self.payloads) + STAMP_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Settings of all cases. `kafka`: its settings but for the address; `is_to_be_left_clean`: remove all it made.

    `has_event_ids`: clients make them. `give_up_after_s`: without anything more arriving, or being archived.
    """

    receiver_host: str
    has_event_ids: bool
    kafka: KafkaConfig
    is_to_be_left_clean: bool
    give_up_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Callbacks on how a run goes."""

    on_step: Callable[[str], None]
    on_sample: Callable[[Sample], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`pool`: the database, when it is known. `folder`: of the journals."""

    installation: Installation
    case: Case
    groups: Sequence[Provisioned]
    generator: BenchChild[GeneratorProgress]
    receiver: BenchChild[ReceiverProgress]
    meter: Meter
    sampler: Sampler
    pool: Pool | None
    folder: Path
    give_up_after_s: float


@asynccontextmanager
async def set_stage(
    installation: Installation,
    case: Case,
    *,
    payloads: Payloads,
    rate_of: Callable[[str], float],
    conditions: Conditions,
    watching: Watching,
) -> AsyncIterator[Stage]:
    """Start all that a case needs, and remove it afterwards. `rate_of`: as in `run_case`. Raises `BenchError`."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookline-bench-run-")))
        pool = await stack.enter_async_context(_open_database(installation))
        receiver = await stack.enter_async_context(_start_receiver(case, folder, conditions.receiver_host))
        watching.on_step("provisioning ...")
        url = f"http://{conditions.receiver_host}:{receiver.last.port}"
        groups = await stack.enter_async_context(_provide_groups(installation, case, conditions, pool, url))
        await prepare(
            case.preparation,
            installation=installation,
            kafka=conditions.kafka,
            pool=pool,
            groups=groups,
            payload=payloads.payloads[0],
            on_step=watching.on_step,
        )
        plan = GeneratorPlan(
            apis=list(installation.apis or (installation.api,)),
            streams=_plan_streams(groups, rate_of),
            payloads=payloads.payloads,
            has_event_ids=conditions.has_event_ids,
            journal_dir=str(folder),
        )
        generator = await stack.enter_async_context(_start_generator(plan, folder))
        own = {"generator": [generator.pid], "receiver": [receiver.pid], "bench": [os.getpid()]}
        meter = Meter({**installation.pids, **own})
        sampler = await stack.enter_async_context(
            Sampler(meter, installation.metrics, generator=generator, receiver=receiver, on_sample=watching.on_sample)
        )
        yield Stage(
            installation=installation,
            case=case,
            groups=groups,
            generator=generator,
            receiver=receiver,
            meter=meter,
            sampler=sampler,
            pool=pool,
            folder=folder,
            give_up_after_s=conditions.give_up_after_s,
        )


@asynccontextmanager
async def _open_database(installation: Installation) -> AsyncIterator[Pool | None]:
    if not installation.database_url:
        yield None
        return
    config = DatabaseConfig.model_validate(
        {"write_url": installation.database_url, "pool_size": 2, "statement_timeout_s": 600}
    )
    pool = await open_pool(config, config.write_url, name="bench")
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def _start_receiver(case: Case, folder: Path, host: str) -> AsyncIterator[BenchChild[ReceiverProgress]]:
    plan = ReceiverPlan(
        host=host,
        answers=[group.answer for group in case.groups for _ in range(group.endpoints)],
        groups=[group.endpoints for group in case.groups],
        journal_dir=str(folder),
    )
    path = folder / "receiver.json"
    write_plan(path, plan)
    child = BenchChild("bench.instruments.receiver", path, ReceiverProgress, log=folder / "receiver.log")
    async with child:
        await child.wait_for(lambda said: said.port > 0, timeout_s=CHILD_START_TIMEOUT_S)
        yield child


@asynccontextmanager
async def _provide_groups(
    installation: Installation, case: Case, conditions: Conditions, pool: Pool | None, url: str
) -> AsyncIterator[list[Provisioned]]:
    async with Control(installation.api, installation.master_api_key) as control:
        groups = await provision(control, case, receiver=url, pool=pool)
        try:
            yield groups
        finally:
            if conditions.is_to_be_left_clean:
                with contextlib.suppress(BenchError):  # it is gone; whatever went wrong before is what matters
                    await remove(control, groups)


@asynccontextmanager
async def _start_generator(plan: GeneratorPlan, folder: Path) -> AsyncIterator[BenchChild[GeneratorProgress]]:
    path = folder / "generator.json"
    write_plan(path, plan)
    child = BenchChild("bench.instruments.generator", path, GeneratorProgress, log=folder / "generator.log")
    async with child:
        await child.wait_for(lambda _: True, timeout_s=CHILD_START_TIMEOUT_S)
        yield child


def _plan_streams(groups: Sequence[Provisioned], rate_of: Callable[[str], float]) -> list[StreamPlan]:
    return [
        StreamPlan(
            number=number,
            pace=_find_pace(provisioned, rate_of),
            audiences=list(provisioned.audiences),
            connections=provisioned.group.connections,
            batch=provisioned.group.batch,
            payloads=_make_payloads(provisioned.group),
        )
        for number, provisioned in enumerate(groups)
    ]


def _make_payloads(group: Group) -> list[str]:
    if group.payload_bytes is None:
        return []
    return [generate_payload(group.payload_bytes, seed=seed) for seed in range(PAYLOAD_VARIETY)]


def _find_pace(provisioned: Provisioned, rate_of: Callable[[str], float]) -> Pace:
    match provisioned.group.load:
        case Open(rate_per_s=rate_per_s):
            return Pace(rate_per_s=rate_per_s)
        case Rising(by_per_s=by_per_s, every_s=every_s):
            return Pace(rate_per_s=by_per_s, rises_every_s=every_s)
        case Share(of=of, share=share):
            return Pace(rate_per_s=max(1.0, share * rate_of(of)))
        case Closed():
            return Pace()
        case InFlight():
            return Pace(is_limited=True)
        case Burst(events=events):
            return Pace(events_max=events)
