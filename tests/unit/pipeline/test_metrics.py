import re

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from pipeline.metrics import Metrics

METRICS = Metrics("matcher")
CATALOGUE: dict[str, MetricWrapperBase] = {
    name: value for name, value in vars(METRICS).items() if isinstance(value, MetricWrapperBase)
}


def describe(metric: MetricWrapperBase) -> tuple[str, str]:
    """Describe a metric: full name, as scraped, and help text."""
    (family,) = metric.describe()
    return family.name + ("_total" if isinstance(metric, Counter) else ""), family.documentation


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_every_metric_is_ours_and_explained(metric: MetricWrapperBase) -> None:
    """A metric's name starts with `hookline_`, its help is a sentence."""
    name, text = describe(metric)

    assert re.fullmatch(r"hookline_[a-z][a-z0-9_]+", name)
    assert len(text) > 10
    assert text[0].isupper() or text[0].isdigit()


@pytest.mark.parametrize(("attribute", "metric"), CATALOGUE.items(), ids=CATALOGUE.keys())
def test_names_say_what_is_counted(attribute: str, metric: MetricWrapperBase) -> None:
    """Counters end in `_total`; a histogram's last word is its unit; the attribute is the name's end."""
    name, _ = describe(metric)

    assert isinstance(metric, Counter | Gauge | Histogram)
    if isinstance(metric, Histogram):
        assert name.endswith(("_seconds", "_records", "_bytes"))
    else:
        assert isinstance(metric, Counter) == attribute.endswith("_total")
    assert name.endswith(attribute.removeprefix("archive_"))


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_no_label_can_grow_without_bound(metric: MetricWrapperBase) -> None:
    """A label value a tenant chooses, or an id, would make as many series as there are of them."""
    unbounded = {"application", "subscription", "endpoint", "event", "url", "host", "ip", "error", "detail"}

    assert not {label.removesuffix("_id").removesuffix("_detail") for label in metric._labelnames} & unbounded  # noqa: SLF001 - the library shows it nowhere else


def test_what_is_scraped_can_be_read() -> None:
    """`/metrics` is Prometheus' text format, with the process' name."""
    METRICS.commits_total.labels("ok").inc()
    families = {
        family.name: family for family in text_string_to_metric_families(generate_latest(METRICS.registry).decode())
    }
    (info,) = families["hookline_process_info"].samples

    assert {"process": "matcher"} == info.labels
    assert {"hookline", "process", "python"} == {name.partition("_")[0] for name in families}
    assert 1.0 == next(
        sample.value for sample in families["hookline_commits"].samples if sample.name == "hookline_commits_total"
    )


def test_each_process_has_its_own() -> None:
    """Two in one interpreter (as in tests) do not add up."""
    other = Metrics("archive")
    other.matches_total.inc(5)

    assert b"hookline_matches_total 5.0" in generate_latest(other.registry)
    assert b"hookline_matches_total 5.0" not in generate_latest(METRICS.registry)


def test_what_must_not_happen_is_counted_from_nought() -> None:
    """A series that is born at 1 has not increased, as far as Prometheus can see."""
    text = generate_latest(Metrics("matcher", topics=["hookline.events"]).registry).decode()

    assert 'hookline_records_missing_total{topic="hookline.events"} 0.0' in text
    assert 'hookline_kafka_produce_failed_total{topic="hookline.events"} 0.0' in text
    assert 'hookline_dead_total{reason="undecodable"} 0.0' in text
    assert 'hookline_commits_total{result="failed"} 0.0' in text


def test_the_first_word_of_the_names_can_be_another() -> None:
    """`HOOKLINE_METRICS_NAMESPACE`: for installations that use these names already."""
    metrics = Metrics("gateway", namespace="hook0")
    metrics.events_ingested_total.inc(3)
    metrics.webhook_delivery_duration_seconds.observe(0.1)
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }

    assert 3.0 == samples["hook0_events_ingested_total"]
    assert 1.0 == samples["hook0_webhook_delivery_duration_seconds_count"]
    assert [] == [name for name in samples if name.startswith("hookline_")]


def test_the_process_itself_is_measured() -> None:
    """Memory, processor time, open files and the collector of garbage, under Prometheus' usual names."""
    text = generate_latest(Metrics("gateway").registry).decode()

    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text
    assert "process_open_fds" in text
    assert 'python_gc_collections_total{generation="2"}' in text
