"""The instruments by themselves: a generator that sends what it should when it should, a receiver that notes all."""

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from bench.errors import BenchError
from bench.evaluation.evidence import Arrival, read_received, read_sent
from bench.instruments.child import BenchChild
from bench.instruments.plan import (
    DRIP,
    HANG,
    RESET,
    STATUS,
    Answer,
    Audience,
    Command,
    GeneratorPlan,
    GeneratorProgress,
    Pace,
    ReceiverPlan,
    ReceiverProgress,
    StreamPlan,
    write_plan,
)
from bench.instruments.stamp import OPENING, Stamp, close_payload, format_stamp, read_stamp
from tests.support.receiver import CloseUnanswered, Receiver, Status, Times

TIMEOUT_S = 30.0
GENERATOR, RECEIVER = "bench.instruments.generator", "bench.instruments.receiver"
PATH = "/api/v1/event"
AUDIENCE = Audience(application_id="a", secret="s", event_type="bench.event.sent", labels={"bench": "all-0"})


def start_generator(folder: Path, api: str, *paces: Pace) -> BenchChild[GeneratorProgress]:
    plan = GeneratorPlan(
        apis=[api],
        streams=[
            StreamPlan(number=number, pace=pace, audiences=[AUDIENCE], connections=4)
            for number, pace in enumerate(paces)
        ],
        payloads=['{"hello":"world"}'],
        has_event_ids=True,
        journal_dir=str(folder),
    )
    write_plan(folder / "generator.json", plan)
    return BenchChild(
        "bench.instruments.generator", folder / "generator.json", GeneratorProgress, log=folder / "generator.log"
    )


def start_receiver(folder: Path, *answers: Answer) -> BenchChild[ReceiverProgress]:
    plan = ReceiverPlan(host="127.0.0.1", answers=list(answers), groups=[len(answers)], journal_dir=str(folder))
    write_plan(folder / "receiver.json", plan)
    return BenchChild(
        "bench.instruments.receiver", folder / "receiver.json", ReceiverProgress, log=folder / "receiver.log"
    )


async def test_the_generator_keeps_to_its_schedule(tmp_path: Path) -> None:
    """Two streams side by side: every event is sent once, bears the time it was to be sent at, and none goes early."""
    rates, count = (200, 50), 40
    paces = [Pace(rate_per_s=rate, events_max=count) for rate in rates]
    async with (
        Receiver(default=Status(201)) as gateway,
        start_generator(tmp_path, gateway.url("/api/v1"), *paces) as generator,
    ):
        await generator.wait_for(lambda _: True, timeout_s=TIMEOUT_S)
        start_us = time.time_ns() // 1000 + 200_000
        for number in range(len(rates)):
            await generator.tell(Command(do="start", stream=number, at_us=start_us))
        await generator.wait_for(lambda said: said.accepted == [count, count], timeout_s=TIMEOUT_S)
        await generator.tell(Command(do="finish"))
        await generator.wait_for(lambda said: said.is_saved, timeout_s=TIMEOUT_S)
        events = [json.loads(request.body) for request in gateway.requests(PATH)]
    stamps = [read_stamp(event["payload"].encode()) for event in events]

    assert [] == gateway.malformed
    assert 2 * count == len({event["event_id"] for event in events})
    for number, rate in enumerate(rates):
        columns = read_sent(tmp_path, number, batch=1).columns
        intended_us = [start_us + each * 1_000_000 // rate for each in range(count)]
        assert intended_us == list(columns["intended_us"])
        assert [Stamp(at_us, number, each) for each, at_us in enumerate(intended_us)] == sorted(
            stamp for stamp in stamps if stamp.stream == number
        )
        assert all(sent_us >= at_us for sent_us, at_us in zip(columns["sent_us"], intended_us, strict=True))
        assert {201} == set(columns["status"])


async def test_what_was_not_answered_is_noted_and_the_load_goes_on(tmp_path: Path) -> None:
    """Connections that break are opened again; refusals and unanswered requests are counted apart."""
    count = 60
    async with Receiver(default=Status(201)) as gateway:
        gateway.script(PATH, Times(5, CloseUnanswered()), Times(3, Status(400)), Times(2, Status(503)), Status(201))
        async with start_generator(tmp_path, gateway.url("/api/v1"), Pace(events_max=count)) as generator:
            await generator.wait_for(lambda _: True, timeout_s=TIMEOUT_S)
            await generator.tell(Command(do="start", stream=0, at_us=time.time_ns() // 1000))
            await generator.wait_for(lambda said: said.accepted[0] + said.failed[0] == count, timeout_s=TIMEOUT_S)
            await generator.tell(Command(do="finish"))
            await generator.wait_for(lambda said: said.is_saved, timeout_s=TIMEOUT_S)
    sent = read_sent(tmp_path, 0, batch=1)

    assert {"no answer": 5, "201": 50, "400": 3, "503": 2} == sent.describe_statuses()
    assert (50, 7, 3) == (sent.count_accepted(), sent.count_unknown(), sent.count_refused())


async def test_a_limited_stream_sends_what_it_is_allowed(tmp_path: Path) -> None:
    """The stream sends no request more, until it is allowed more."""
    async with (
        Receiver(default=Status(201)) as gateway,
        start_generator(tmp_path, gateway.url("/api/v1"), Pace(is_limited=True)) as generator,
    ):
        await generator.wait_for(lambda _: True, timeout_s=TIMEOUT_S)
        await generator.tell(Command(do="start", stream=0, at_us=time.time_ns() // 1000))
        for total in (7, 30):
            await generator.tell(Command(do="allow", stream=0, total=total))
            await generator.wait_for(lambda said, total=total: said.accepted == [total], timeout_s=TIMEOUT_S)  # type: ignore[misc]  # of this turn
        await generator.tell(Command(do="finish"))
        await generator.wait_for(lambda said: said.is_saved, timeout_s=TIMEOUT_S)

    assert 30 == len(gateway.requests(PATH))


def make_body(number: int) -> bytes:
    """A delivery of stream 2."""
    stamp = format_stamp(Stamp(1_764_092_406_123_456, 2, number))
    return OPENING.encode() + stamp + close_payload('{"x":1}').encode()


async def test_the_receiver_notes_what_it_answers_with_success(tmp_path: Path) -> None:
    """Slow ones too; a failure is no delivery, and what bears no mark is told."""
    async with start_receiver(tmp_path, Answer(), Answer(delay_ms=50), Answer(kind=STATUS, status=503)) as receiver:
        port = (await receiver.wait_for(lambda said: said.port > 0, timeout_s=TIMEOUT_S)).port
        url = f"http://127.0.0.1:{port}"
        before_us = time.time_ns() // 1000
        async with aiohttp.ClientSession() as session:
            statuses: list[int] = []
            for endpoint in (0, 1, 2, 0):
                async with session.post(f"{url}/e/{endpoint}", data=make_body(len(statuses))) as response:
                    statuses.append(response.status)
            await receiver.tell(Command(do="answer", first=2, end=3, answer=Answer()))
            await receiver.tell(Command(do="save"))
            await receiver.wait_for(lambda said: said.saved == 1, timeout_s=TIMEOUT_S)
            async with session.post(f"{url}/e/2", data=make_body(9)) as response:
                statuses.append(response.status)
            for path, body in (("/e/3", make_body(1)), ("/e/0", b"nothing of ours, but long enough to be")):
                with pytest.raises(aiohttp.ClientError):
                    await session.post(url + path, data=body)
        await receiver.tell(Command(do="save"))
        said = await receiver.wait_for(lambda said: said.saved == 2, timeout_s=TIMEOUT_S)
    arrivals = list(read_received(tmp_path).list_arrivals(2))

    assert [200, 200, 503, 200, 200] == statuses
    assert [(0, 0), (1, 1), (3, 0), (9, 2)] == [(arrival.number, arrival.endpoint) for arrival in arrivals]
    assert all(isinstance(arrival, Arrival) and arrival.arrived_us >= before_us for arrival in arrivals)
    assert ([4], 2) == (said.received, said.misunderstood)


@pytest.mark.parametrize(
    ("kind", "error"), [(RESET, aiohttp.ClientError), (HANG, TimeoutError), (DRIP, TimeoutError)], ids=str
)
async def test_sick_endpoints_are_sick(tmp_path: Path, kind: str, error: type[Exception]) -> None:
    """None of them counts as a delivery."""
    async with start_receiver(tmp_path, Answer(kind=kind)) as receiver:
        port = (await receiver.wait_for(lambda said: said.port > 0, timeout_s=TIMEOUT_S)).port
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as session:
            with pytest.raises(error):
                await session.post(f"http://127.0.0.1:{port}/e/0", data=make_body(0))
        said = await receiver.wait_for(lambda said: said.requests > 0, timeout_s=TIMEOUT_S)

    assert [0] == said.received


async def test_an_answer_that_makes_no_sense_ends_the_run(tmp_path: Path) -> None:
    """A batch answered with 200 and no results: neither accepted nor refused, so no figures either."""
    async with Receiver(default=Status(200, b'{"hello":"world"}')) as gateway:
        plan = GeneratorPlan(
            apis=[gateway.url("/api/v1")],
            streams=[StreamPlan(number=0, pace=Pace(events_max=10), audiences=[AUDIENCE], connections=1, batch=10)],
            payloads=["{}"],
            has_event_ids=False,
            journal_dir=str(tmp_path),
        )
        write_plan(tmp_path / "plan.json", plan)
        log = tmp_path / "generator.log"
        async with BenchChild(
            "bench.instruments.generator", tmp_path / "plan.json", GeneratorProgress, log=log
        ) as generator:
            await generator.wait_for(lambda _: True, timeout_s=TIMEOUT_S)
            await generator.tell(Command(do="start", stream=0, at_us=time.time_ns() // 1000))
            with pytest.raises(BenchError, match="missing required field `results`"):
                await generator.wait_for(lambda said: said.is_saved, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("module", [GENERATOR, RECEIVER])
async def test_an_instrument_whose_reports_fail_ends(tmp_path: Path, module: str) -> None:
    """A parent would wait for figures that never come. The reason is in the instrument's log."""
    if module == GENERATOR:
        plan: GeneratorPlan | ReceiverPlan = GeneratorPlan(
            apis=["http://127.0.0.1:1"], streams=[], payloads=[], has_event_ids=False, journal_dir=str(tmp_path)
        )
    else:
        plan = ReceiverPlan(host="127.0.0.1", answers=[], groups=[], journal_dir=str(tmp_path))
    write_plan(tmp_path / "plan.json", plan)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(tmp_path / "plan.json"), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - a stream has no way to close it
    async with asyncio.timeout(TIMEOUT_S):
        logged = await process.stderr.read()
        code = await process.wait()

    assert 1 == code
    assert b"BrokenPipeError" in logged


async def test_a_child_that_says_nonsense_ends_the_run(tmp_path: Path) -> None:
    """`python -m this` speaks, but not JSON: the error names it."""
    async with contextlib.AsyncExitStack() as stack:
        child = BenchChild("this", tmp_path, GeneratorProgress, log=tmp_path / "log")
        stack.push(lambda kind, *_: kind is BenchError)  # leaving it raises the same once more
        await stack.enter_async_context(child)
        with pytest.raises(BenchError, match="this said what cannot be read"):
            await child.wait_for(lambda _: True, timeout_s=TIMEOUT_S)
        with pytest.raises(BenchError, match="this said what cannot be read"):
            _ = child.last
