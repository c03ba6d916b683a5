import msgspec

from bench.reports.screen import describe_sample
from bench.sampling.sampler import Sample

BEFORE = Sample(
    at_us=0,
    cpu_s={"gateway": 1.0, "generator": 2.0, "up": 0.5},
    rss_mib={},
    machine_cpu_s=0.0,
    lag={"matcher": 0.0},
    runnable_lag={},
    archived_rows={},
    accepted=[100, 50],
    received=[90],
)
AFTER = msgspec.structs.replace(
    BEFORE,
    at_us=2_000_000,
    cpu_s={"gateway": 1.5, "generator": 2.1, "up": 0.6},
    lag={"matcher": 1200.0, "archive": 34.0},
    accepted=[500, 150],
    received=[2290],
)


def test_a_line_says_how_the_load_is_doing() -> None:
    """Rates since the line before, over all groups; lag; who is busy."""
    assert "accepted 250/s  delivered 1,100/s  lag 1,234  gateway 25%  generator 5%" == describe_sample(BEFORE, AFTER)


def test_an_unknown_lag_is_no_zero() -> None:
    """The lag is unknown when no process' metrics can be read."""
    assert "lag ?" in describe_sample(BEFORE, msgspec.structs.replace(AFTER, lag={}))
