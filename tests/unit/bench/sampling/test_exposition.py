from prometheus_client import generate_latest

from bench.sampling.exposition import read_series, total
from pipeline.metrics import Metrics


def test_our_own_page_is_understood() -> None:
    """Every line of it."""
    metrics = Metrics("archive")
    metrics.rows_total.labels("events").inc(3)
    metrics.rows_total.labels("attempts").inc(4)
    metrics.lag_records.labels("hookline.events", "0").set(5)
    metrics.lag_records.labels("hookline.events", "1").set(7)
    page = generate_latest(metrics.registry).decode()

    assert 12 == total(page, "hookline_lag_records")
    assert 4 == total(page, "hookline_archive_rows_total", 'table="attempts"')
    assert 0 == total(page, "hookline_archive_rows_total", 'table="dead_letters"')
    assert len([line for line in page.splitlines() if line and line[0] != "#"]) == len(list(read_series(page)))


def test_a_name_is_not_the_start_of_another() -> None:
    """`lag` and `runnable_lag` are two figures."""
    page = '# HELP x y\na 1\na_b 2\na{l="v"} 4\n'

    assert 5 == total(page, "a")
