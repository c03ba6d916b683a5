"""A page of metrics has all of them, and others have turns of the loop while it is made."""

import asyncio

from prometheus_client import generate_latest

from pipeline.metrics import Metrics
from pipeline.metrics_page import MetricsPage

ROUTES = 300
OF_THE_MOMENT = ("process_", "python_")  # processor time, memory, collections of garbage


def make_metrics() -> Metrics:
    metrics = Metrics("gateway")
    for number in range(ROUTES):
        metrics.http_seconds.labels(f"/route/{number}").observe(0.1)
        metrics.http_requests_total.labels(f"/route/{number}", "GET", 200).inc(number)
    return metrics


def list_lasting(page: bytes) -> list[str]:
    """List the lines that do not differ from one look to the next."""
    return [line for line in page.decode().splitlines() if not line.startswith(OF_THE_MOMENT)]


async def test_the_page_has_what_the_registry_has() -> None:
    metrics = make_metrics()
    page = MetricsPage(metrics.registry)

    assert list_lasting(generate_latest(metrics.registry)) == list_lasting(await page.render())
    page.close()


async def test_others_have_turns_while_a_page_is_made() -> None:
    """Made at once, it leaves a single turn."""
    page = MetricsPage(make_metrics().registry)
    rendering, turns = asyncio.create_task(page.render()), 0
    while not rendering.done():
        await asyncio.sleep(0)
        turns += 1
    page.close()

    assert "/route/0" in rendering.result().decode()
    assert turns > 5
