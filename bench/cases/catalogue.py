"""The scenarios there are. Loads are such that two cores can carry them; `--rate` and `--duration` change them."""

from dataclasses import replace

from bench.cases.scenario import (
    ANSWERS_AT_ONCE,
    FAN_OUT_CASE,
    LARGE_CASE,
    MEASURED,
    PLAIN_CASE,
    SATURATION_NAME,
    WARM_UP,
    WARM_UP_S,
    ArchiveWrites,
    Burst,
    Case,
    Closed,
    FullArchive,
    Group,
    InFlight,
    Open,
    Phase,
    Reads,
    Rising,
    Scenario,
    ScheduledRetries,
    Share,
)
from bench.instruments.plan import DRIP, HANG, OK, RESET, STATUS, Answer
from pipeline.core.process_kinds import PROCESS_KINDS

WARMING_UP = Phase(name=WARM_UP, seconds=WARM_UP_S)
SATURATING = Group(load=InFlight(events_max=5000))
STANDARD = Group(load=Open(rate_per_s=200.0))
SOAK_S = 1800.0

END_TO_END = Scenario(
    name="end-to-end",
    about="From the moment an event is due to its arrival at the receiver, at steady rates.",
    cases=tuple(
        Case(name=f"{rate:,}/s", groups=(replace(STANDARD, load=Open(rate_per_s=rate)),)) for rate in (1, 50, 200, 1000)
    ),
    varies_rate=True,
)
SATURATION = Scenario(
    name=SATURATION_NAME,
    about="As many events as are delivered and archived: 5,000 deliveries are on their way at any time.",
    cases=(
        Case(name=PLAIN_CASE, groups=(SATURATING,)),
        Case(name=LARGE_CASE, groups=(SATURATING,), payload_bytes=None),
        Case(name=FAN_OUT_CASE, groups=(replace(SATURATING, load=InFlight(events_max=500), fan_out=10),)),
    ),
)
INGEST = Scenario(
    name="ingest",
    about="The gateway: events that no subscription matches, a request each.",
    cases=(
        Case(name="closed loop", groups=(Group(load=Closed(), fan_out=0),)),
        Case(
            name="half of it",
            groups=(Group(load=Share(of="closed loop", share=0.5), fan_out=0),),
        ),
    ),
)
INGEST_BATCHES = Scenario(
    name="ingest-batches",
    about="The same by batches of 100.",
    cases=(
        Case(name="closed loop", groups=(Group(load=Closed(), fan_out=0, connections=8, batch=100),)),
        Case(
            name="half of it",
            groups=(Group(load=Share(of="closed loop", share=0.5), fan_out=0, connections=8, batch=100),),
        ),
    ),
)
STEPS, STEP_PER_S, STEP_S = 20, 50, 30.0
RISING = Scenario(
    name="rising",
    about="50 events a second more every half minute, up to 1,000: is there a rate at which latency jumps?",
    cases=(
        Case(
            name=f"to {STEPS * STEP_PER_S:,}/s",
            groups=(Group(load=Rising(by_per_s=STEP_PER_S, every_s=STEP_S)),),
            phases=(
                Phase(name=WARM_UP, seconds=STEP_S),
                *(Phase(name=f"×{number}", seconds=STEP_S, is_measured=True) for number in range(1, STEPS + 1)),
            ),
        ),
    ),
)
FAN_OUT = Scenario(
    name="fan-out",
    about="500 deliveries a second, from more or fewer events: an event matches 1, 10 or 100 subscriptions.",
    cases=tuple(
        Case(name=f"to {fan_out}", groups=(Group(load=Open(rate_per_s=500 / fan_out), audiences=4, fan_out=fan_out),))
        for fan_out in (1, 10, 100)
    ),
)
SUBSCRIPTIONS = Scenario(
    name="subscriptions",
    about="One subscription matches, of 1, 100 or 5,000 that the application has; 200 events a second.",
    cases=tuple(
        Case(
            name=f"one of {count:,}",
            groups=(replace(STANDARD, audiences=1, applications=1, idle_subscriptions=count - 1),),
        )
        for count in (1, 100, 5000)
    ),
)
ENDPOINTS = Scenario(
    name="endpoints",
    about="500 deliveries a second to one endpoint, or to 1,000.",
    cases=tuple(
        Case(name=f"{count:,}", groups=(Group(load=Open(rate_per_s=500.0), audiences=count),)) for count in (1, 1000)
    ),
)
SLOW_RECEIVERS = Scenario(
    name="slow-receivers",
    about="Endpoints that take their time to answer; 200 deliveries a second to 20 of them.",
    cases=tuple(
        Case(name=f"{delay_ms} ms", groups=(replace(STANDARD, answer=Answer(delay_ms=delay_ms)),))
        for delay_ms in (0, 50, 500)
    ),
)
PAYLOADS = Scenario(
    name="payloads",
    about="200 events a second of 1 KB, and with the sizes of real webhooks (1 to 26 KB, median 8 KB).",
    cases=(
        Case(name="1 KB", groups=(STANDARD,)),
        Case(name="real payloads", groups=(STANDARD,), payload_bytes=None),
    ),
)
FULL_ARCHIVE = Scenario(
    name="full-archive",
    about="An archive that is empty, and one that holds 10,000,000 rows of the same day (--archive-rows).",
    cases=(
        Case(name="empty", groups=(replace(STANDARD, load=Open(rate_per_s=500.0)),)),
        Case(
            name="full",
            groups=(replace(STANDARD, load=Open(rate_per_s=500.0)),),
            preparation=FullArchive(rows=10_000_000),
        ),
        Case(name="full, saturation", groups=(SATURATING,), preparation=FullArchive(rows=10_000_000)),
    ),
)
SCHEDULED_RETRIES = Scenario(
    name="scheduled-retries",
    about="200 events a second, while 78,000 retries wait for a time hours ahead, and without them.",
    cases=(
        Case(name="none", groups=(STANDARD,)),
        Case(name="78,000", groups=(STANDARD,), preparation=ScheduledRetries(deliveries=78_000)),
    ),
)
SICK_ENDPOINTS = Scenario(
    name="sick-endpoints",
    about="100 endpoints with 1 event a second each: all healthy, then 30 of them hang, reset, drip or answer 500.",
    cases=(
        Case(
            name="30 of 100",
            groups=(
                Group(name="healthy", load=Open(rate_per_s=70.0), audiences=70),
                *(
                    Group(name=name, load=Open(rate_per_s=1.0 * count), audiences=count, must_arrive=False)
                    for name, count in (("hanging", 8), ("resetting", 8), ("dripping", 7), ("failing", 7))
                ),
            ),
            phases=(
                WARMING_UP,
                Phase(name="all healthy", seconds=60.0, is_measured=True),
                Phase(
                    name="falling ill",
                    seconds=10.0,
                    answers={
                        "hanging": Answer(kind=HANG),
                        "resetting": Answer(kind=RESET),
                        "dripping": Answer(kind=DRIP),
                        "failing": Answer(kind=STATUS, status=500),
                    },
                ),
                Phase(name="30 of 100 sick", seconds=60.0, is_measured=True),
            ),
        ),
    ),
)
HANGING_ENDPOINT = Scenario(
    name="hanging-endpoint",
    about="Two endpoints with 50 events a second each: one begins to hang, the other must not notice.",
    cases=(
        Case(
            name="one of two",
            groups=(
                Group(name="healthy", load=Open(rate_per_s=50.0), audiences=1),
                Group(name="hanging", load=Open(rate_per_s=50.0), audiences=1, must_arrive=False),
            ),
            phases=(
                WARMING_UP,
                Phase(name="both healthy", seconds=30.0, is_measured=True),
                Phase(name="one hangs", seconds=60.0, is_measured=True, answers={"hanging": Answer(kind=HANG)}),
            ),
        ),
    ),
)


def _neighbours(name: str, slow: Group) -> Case:
    """Healthy endpoints, and slow ones that are sent a burst: neither ends before the other is measured.

    The cost of a burst for others, whatever becomes of it, has its own phases.
    """
    return Case(
        name=name,
        groups=(Group(name="healthy", load=Open(rate_per_s=100.0)), slow),
        phases=(
            WARMING_UP,
            Phase(name="before", seconds=40.0, is_measured=True),
            Phase(name="filling", seconds=120.0, is_measured=True, until_accepted=slow.name),
            Phase(name="parking", seconds=10.0, is_measured=True),
            Phase(name="meanwhile", seconds=60.0, is_measured=True),
        ),
    )


SLOW_NEIGHBOUR = Group(
    name="slow",
    load=Burst(events=10_000),
    audiences=1,
    applications=1,
    answer=Answer(kind=HANG),
    batch=100,
    connections=4,
    starts_in="filling",
    must_arrive=False,
)
NEIGHBOURS = Scenario(
    name="neighbours",
    about="20 healthy endpoints with 5 events a second each, beside others that are slow and are sent much at once.",
    cases=(
        _neighbours(
            "rate-limited",
            replace(
                SLOW_NEIGHBOUR,
                load=Burst(events=10_500),
                audiences=21,
                answer=ANSWERS_AT_ONCE,
                rate_per_s=0.1,
                batch=50,
            ),
        ),
        _neighbours("hanging", replace(SLOW_NEIGHBOUR, load=Burst(events=12_000), audiences=30)),
        _neighbours("large payloads", replace(SLOW_NEIGHBOUR, load=Burst(events=300), payload_bytes=300_000, batch=10)),
        _neighbours("many endpoints", replace(SLOW_NEIGHBOUR, load=Burst(events=100), fan_out=100, batch=10)),
        _neighbours(
            "wide fan-out",
            replace(SLOW_NEIGHBOUR, load=Burst(events=300), fan_out=500, answer=Answer(kind=RESET), batch=10),
        ),
        _neighbours("many applications", replace(SLOW_NEIGHBOUR, audiences=1000, applications=1000, batch=10)),
    ),
)
BACKLOG = Scenario(
    name="backlog",
    about="20 endpoints with 5 events a second each, beside one that takes 500 ms and is sent 100,000 at once.",
    cases=(
        Case(
            name="100,000 events",
            groups=(
                Group(name="others", load=Open(rate_per_s=100.0)),
                Group(
                    name="backlogged",
                    load=Burst(events=100_000),
                    audiences=1,
                    answer=Answer(delay_ms=500.0),
                    batch=100,
                    connections=4,
                    starts_in="filling",
                    must_arrive=False,
                ),
            ),
            phases=(
                WARMING_UP,
                Phase(name="before", seconds=30.0, is_measured=True),
                Phase(name="filling", seconds=600.0, is_measured=True, until_accepted="backlogged"),
                Phase(name="parking", seconds=90.0, is_measured=True),
                Phase(name="with the backlog", seconds=30.0, is_measured=True),
            ),
        ),
    ),
)
RECOVERY = Scenario(
    name="recovery",
    about="An endpoint comes back from an outage with 50,000 waiting; 20 others go on with 5 events a second each.",
    cases=(
        Case(
            name="50,000 waiting",
            groups=(
                Group(name="others", load=Open(rate_per_s=100.0)),
                Group(
                    name="back",
                    load=Burst(events=50_000),
                    audiences=1,
                    answer=Answer(kind=STATUS, status=503),
                    batch=100,
                    connections=4,
                    starts_in="outage",
                    retry_delays_s=(3.0, 10.0, 30.0, *(60.0,) * 12),
                ),
            ),
            phases=(
                WARMING_UP,
                Phase(name="before", seconds=20.0, is_measured=True),
                Phase(name="outage", seconds=600.0, is_measured=True, until_accepted="back"),
                # the burst is more than two cores can match at once, which holds up the others, outage or not
                Phase(name="waiting", seconds=90.0, is_measured=True),
                Phase(
                    name="back",
                    seconds=1200.0,
                    is_measured=True,
                    answers={"back": Answer(kind=OK)},
                    until_delivered="back",
                ),
            ),
        ),
    ),
)
PROCESSES = Scenario(
    name="processes",
    about="Saturation with one process of each kind, and with two.",
    cases=tuple(
        Case(
            name=f"{count} of each",
            groups=(replace(SATURATING, audiences=64, applications=16),),
            counts=dict.fromkeys(PROCESS_KINDS, count),
        )
        for count in (1, 2)
    ),
)
SOAK = Scenario(
    name="soak",
    about="1,000 events a second for half an hour: does memory grow?",
    cases=(
        Case(
            name="1,000/s",
            groups=(replace(STANDARD, load=Open(rate_per_s=1000.0)),),
            phases=(WARMING_UP, Phase(name=MEASURED, seconds=SOAK_S, is_measured=True)),
        ),
    ),
    varies_rate=True,
)

READS = Scenario(
    name="reads",
    about="Reads of the API beside 1,000,000 archived rows; `accepted`: requests answered with 200.",
    cases=(Case(name="one gateway", groups=(), phases=(), preparation=FullArchive(rows=1_000_000), direct=Reads()),),
)
ARCHIVE = Scenario(
    name="archive",
    about="The archive's writes alone, by one writer: `accepted/s` are rows, latencies those of transactions.",
    cases=(Case(name="one writer", groups=(), phases=(), direct=ArchiveWrites()),),
)

SCENARIOS = (
    END_TO_END,
    RISING,
    SATURATION,
    INGEST,
    INGEST_BATCHES,
    FAN_OUT,
    SUBSCRIPTIONS,
    ENDPOINTS,
    SLOW_RECEIVERS,
    PAYLOADS,
    FULL_ARCHIVE,
    SCHEDULED_RETRIES,
    SICK_ENDPOINTS,
    HANGING_ENDPOINT,
    NEIGHBOURS,
    BACKLOG,
    RECOVERY,
    PROCESSES,
    READS,
    ARCHIVE,
    SOAK,
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
# Half an hour: only by name.
LONG = frozenset({SOAK.name})
