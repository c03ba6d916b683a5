import math
from typing import Any

import msgspec
import pytest

from connectors.http import endpoint_memory
from connectors.http.endpoint_memory import EndpointMemory
from pipeline.config import Settings
from pipeline.core.lanes.budget import Standing
from pipeline.core.retries.endpoint_health import ASK_AGAIN_INTERVAL_US
from pipeline.metrics import Metrics
from tests.support.outbound import NOW_US, SEALER, make_endpoint
from tests.unit.connectors.http.sink_alone import NoStates


def make_memory(**options: Any) -> EndpointMemory:
    """A memory of a process with the default settings."""
    settings, metrics = Settings(), Metrics("deliver")
    return EndpointMemory(
        settings.deliver, settings.worker, states=NoStates(), sealer=SEALER, metrics=metrics, **options
    )


def test_a_deleted_endpoint_is_forgotten() -> None:
    """Unsealed secrets, health and gate are forgotten; what is in flight to the endpoint can still end."""
    memory, endpoint = make_memory(), make_endpoint("https://example.com/")
    target, gate = memory.compile(endpoint), memory.gate(endpoint.subscription_id.encode())
    memory.fail(endpoint, NOW_US, error="500", is_gone=False, is_fault=True)

    assert target is memory.compile(endpoint)
    assert [endpoint] == memory.list_untold()
    memory.forget(endpoint.subscription_id)
    assert [] == memory.list_untold()
    assert gate is not memory.gate(endpoint.subscription_id.encode())
    memory.fail(endpoint, NOW_US, error="500", is_gone=False, is_fault=True)
    assert memory.tell(endpoint, NOW_US) is not None
    assert target is not memory.compile(endpoint)


def test_an_endpoint_that_is_not_known_can_be_forgotten() -> None:
    """Most were never sent to by this process."""
    make_memory().forget("00000000-0000-0000-0000-000000000000")


def test_a_request_to_disable_that_is_not_answered_is_repeated() -> None:
    """Another version of the endpoint ends it: deliveries are parked meanwhile, so that no outcome would."""
    endpoint, steady_us = make_endpoint("https://example.com/"), [NOW_US]
    published = {endpoint.subscription_id: endpoint}
    memory = make_memory(steady_us=lambda: steady_us[0], find_endpoint=published.get)
    memory.compile(endpoint)
    memory.fail(endpoint, NOW_US, error="410", is_gone=True, is_fault=False)
    told = [memory.tell(endpoint, NOW_US), memory.tell(endpoint, NOW_US)]
    steady_us[0] += ASK_AGAIN_INTERVAL_US
    untold = memory.list_untold()
    told += [memory.tell(endpoint, NOW_US), memory.tell(endpoint, NOW_US)]
    steady_us[0] += ASK_AGAIN_INTERVAL_US
    published[endpoint.subscription_id] = msgspec.structs.replace(endpoint, version=endpoint.version + 1, enabled=False)

    assert ["gone", None, "gone", None] == [state and state.disable_reason for state in told]
    assert [endpoint] == untold
    assert [] == memory.list_untold()


def test_an_answer_to_an_older_version_says_nothing_about_the_newer() -> None:
    """The owner moved the endpoint while a request was open: the old place is gone, and the new one is not."""
    memory, old = make_memory(), make_endpoint("https://example.com/old")
    new = msgspec.structs.replace(old, url="https://example.com/new", version=old.version + 1)
    memory.compile(old)
    memory.compile(new)
    memory.fail(old, NOW_US, error="410", is_gone=True, is_fault=False)

    assert not memory.is_to_be_disabled(new)
    assert [None, None] == [memory.tell(each, NOW_US) for each in (old, new)]
    memory.fail(new, NOW_US, error="500", is_gone=False, is_fault=True)
    memory.succeed(old, NOW_US)
    assert memory.tell(old, NOW_US) is None
    state = memory.tell(new, NOW_US)
    assert state is not None
    assert (new.version, NOW_US) == (state.endpoint_version, state.failing_since_us)


def test_the_first_requests_keep_to_the_endpoints_bounds() -> None:
    """Asked for before anything was sent to it: its rate holds for those that come at once after a start, too."""
    endpoint = make_endpoint("https://example.com/", rate_per_s=2.0, concurrency_max=3)
    memory = make_memory(find_endpoint={endpoint.subscription_id: endpoint}.get)
    gate = memory.gate(endpoint.subscription_id.encode())
    rooms = [gate.room(NOW_US)]
    memory.compile(endpoint)
    rooms.append(gate.room(NOW_US))

    assert [2, 2] == rooms
    assert Settings().worker.concurrency == memory.gate(b"unknown").room(NOW_US)


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_an_impossible_rate_is_none_that_lanes_stumble_over(rate_per_s: float) -> None:
    """A gate answers what lanes ask, whatever the log says of an endpoint."""
    memory = make_memory()
    endpoint = make_endpoint("https://example.com/", rate_per_s=rate_per_s)
    memory.compile(endpoint)
    gate = memory.gate(endpoint.subscription_id.encode())
    gate.start(NOW_US)

    assert 0 <= gate.room(NOW_US)
    assert NOW_US <= (gate.wakes_at_us(NOW_US) or NOW_US)
    assert gate.standing(10, NOW_US) in Standing


def test_gates_that_are_idle_are_forgotten_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates with requests in flight, or with an open breaker, stay, however many there are."""
    monkeypatch.setattr(endpoint_memory, "GATES_MAX", 4)
    memory = make_memory()
    gates = {name: memory.gate(name) for name in (b"busy", b"idle", b"broken", b"idle too")}
    gates[b"busy"].start(NOW_US)
    gates[b"broken"].opened_until_us = NOW_US

    newer = {name: memory.gate(name) for name in (b"new", b"newer")}

    kept = gates | newer
    assert all(memory.gate(name) is kept[name] for name in (b"busy", b"broken", b"new", b"newer"))
    assert memory.gate(b"idle") is not gates[b"idle"]
