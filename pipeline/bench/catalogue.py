"""The scenarios there are."""

from pipeline.bench.scenario import Case, Closed, Group, InFlight, Open, Scenario, Share

END_TO_END = Scenario(
    name="end-to-end",
    about="From the moment an event is to be sent to its arrival at the receiver.",
    cases=tuple(
        Case(name=f"{rate}/s", groups=(Group(load=Open(rate_per_s=rate)),)) for rate in (50, 200, 1000)
    ),
    varies_rate=True,
)
SATURATION = Scenario(
    name="saturation",
    about="As many events as are delivered and archived, with 5,000 on their way.",
    cases=(Case(name="5,000 in flight", groups=(Group(load=InFlight(events_max=5000), connections=64),)),),
)
INGEST = Scenario(
    name="ingest",
    about="The gateway alone: events that no subscription matches.",
    cases=(
        Case(name="64 connections", groups=(Group(load=Closed(), fan_out=0, connections=64),)),
        Case(name="half of it", groups=(Group(load=Share(of="64 connections", share=0.5), fan_out=0, connections=64),)),
    ),
)

SCENARIOS = (END_TO_END, SATURATION, INGEST)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
