import json
from dataclasses import asdict

import pytest

from pipeline.core.routing.delivery_settings import DeliverySettings, find_setting_problems, read_settings


def test_the_default_is_fine() -> None:
    """Nothing asked for, nothing wrong."""
    assert {} == find_setting_problems(DeliverySettings())
    assert {} == find_setting_problems(DeliverySettings(retry_delays_s=()))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (DeliverySettings(retry_delays_s=(-1.0,)), "retry_delays_s"),
        (DeliverySettings(retry_delays_s=(1.0,) * 51), "retry_delays_s"),
        (DeliverySettings(retry_delays_s=(float("nan"),)), "retry_delays_s"),
        (DeliverySettings(retry_delays_s=(8 * 86_400.0,)), "retry_delays_s"),
        (DeliverySettings(rate_per_s=0), "rate_per_s"),
        (DeliverySettings(rate_per_s=float("inf")), "rate_per_s"),
        (DeliverySettings(concurrency_max=0), "concurrency_max"),
        (DeliverySettings(concurrency_max=101), "concurrency_max"),
        (DeliverySettings(total_timeout_s=0.5), "total_timeout_s"),
        (DeliverySettings(connect_timeout_s=61), "connect_timeout_s"),
    ],
)
def test_out_of_bounds(settings: DeliverySettings, field: str) -> None:
    """A value that no sink could keep to is refused, with its field."""
    assert {field} == find_setting_problems(settings).keys()


def test_what_a_newer_release_wrote_is_passed_over() -> None:
    """Gateways of two releases read each other's rows: unknown members are ignored, missing ones are defaults."""
    written = DeliverySettings(retry_delays_s=(1.0, 2.0), rate_per_s=3.0, event_format="cloudevents-binary")

    assert written == read_settings(json.dumps(asdict(written) | {"colour": "blue", "shape": {"sides": 3}}))
    assert DeliverySettings(rate_per_s=3.0) == read_settings('{"rate_per_s": 3.0}')
    assert DeliverySettings() == read_settings("{}")
