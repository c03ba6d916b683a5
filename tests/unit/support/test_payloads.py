import json
import re
from statistics import median, quantiles

import pytest

from tests.support.payloads import FILE, SOURCE, Payload, generate_payloads, real_payloads


@pytest.mark.parametrize("payloads", [real_payloads(), generate_payloads()], ids=["as found", "generated"])
def test_payloads_have_the_sizes_of_github_webhooks(payloads: list[Payload]) -> None:
    """Median 7.7 KB, 90th percentile 24 KB, none above 27 KB: whichever source was used."""
    sizes = [len(payload.payload.encode()) for payload in payloads]

    assert len(payloads) == 264
    assert pytest.approx(median(sizes), rel=0.02) == 7690
    assert pytest.approx(quantiles(sizes, n=10)[-1], rel=0.02) == 23_600
    assert max(sizes) == 26_328


@pytest.mark.parametrize("payloads", [real_payloads(), generate_payloads()], ids=["as found", "generated"])
def test_payloads_can_be_sent_as_they_are(payloads: list[Payload]) -> None:
    """Types of three parts as the API accepts them, JSON objects as text."""
    for payload in payloads:
        assert re.fullmatch(r"github\.[a-z0-9_]{1,50}\.[a-z_-]{1,50}", payload.event_type)
        assert isinstance(json.loads(payload.payload), dict)


def test_generated_payloads_are_the_same_every_time() -> None:
    """Two runs on two machines measure the same input."""
    assert generate_payloads() == generate_payloads()


def test_the_source_is_named() -> None:
    """A result names the payloads it was measured with."""
    assert SOURCE.startswith("real GitHub webhooks" if FILE.exists() else "generated")
