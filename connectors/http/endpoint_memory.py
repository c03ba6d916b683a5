"""The http sink's memory of each endpoint: its gate, its health, and the target made ready for sending."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

from connectors.http.client.exchange import Certificate
from connectors.http.target import Target, compile_target
from pipeline.clock import monotonic_us, wall_us
from pipeline.config import DeliverConfig, WorkerConfig
from pipeline.core.events.records import Endpoint, EndpointState
from pipeline.core.lanes.gate import CONCURRENCY_MAX, EndpointGate, GatePolicy
from pipeline.core.retries.egress import EgressGuard
from pipeline.core.retries.endpoint_health import FAILING, GONE, EndpointHealth, is_expiring, restore_health
from pipeline.core.routing.delivery_settings import RATE_MAX_PER_S, RATE_MIN_PER_S
from pipeline.core.signing.sealing import Sealer
from pipeline.core.units import SECOND_US
from pipeline.metrics import Metrics

GATES_MAX = 100_000
FORGET_STEPS = 16


class States(Protocol):
    """The state of each endpoint that was published last: a view of the endpoint-states topic."""

    def get(self, subscription_id: str) -> EndpointState | None: ...

    def list_failing(self) -> Iterable[str]:
        """Endpoints without a success since their last failure."""


class EndpointMemory:
    """Endpoints that this process has to do with. Keys are subscription ids as the log has them, in bytes."""

    def __init__(
        self,
        deliver: DeliverConfig,
        worker: WorkerConfig,
        *,
        states: States,
        sealer: Sealer,
        metrics: Metrics,
        steady_us: Callable[[], int] = monotonic_us,
        clock_us: Callable[[], int] = wall_us,
        find_endpoint: Callable[[str], Endpoint | None] = lambda _: None,
    ) -> None:
        """`steady_us`: a monotonic clock; `clock_us`: the log's.

        `find_endpoint`: by subscription id, for the bounds of an endpoint that nothing was sent to yet.
        """
        # one endpoint never holds more than half of the places
        most = max(1, min(CONCURRENCY_MAX, worker.max_connections // 2))
        self._policy = GatePolicy(
            concurrency=min(worker.concurrency, most), concurrency_max=most, waiting_max=worker.lane_max_records
        )
        self._config = deliver
        self._states = states
        self._sealer = sealer
        self._metrics = metrics
        self._gates: OrderedDict[Hashable, EndpointGate] = OrderedDict()
        self._targets: dict[str, Target] = {}
        self._health: dict[str, EndpointHealth] = {}
        self._steady_us = steady_us
        self._clock_us = clock_us
        self._find_endpoint = find_endpoint
        self._guard = EgressGuard(
            round(deliver.egress_window_s * SECOND_US), now_us=steady_us(), inherited=states.list_failing()
        )

    def gate(self, lane: Hashable) -> EndpointGate:
        """The endpoint's gate."""
        gate = self._gates.get(lane)
        if gate is None:
            if len(self._gates) >= GATES_MAX:
                self._forget_an_idle_gate()
            subscription_id = lane.decode(errors="replace") if isinstance(lane, bytes) else ""
            endpoint = self._find_endpoint(subscription_id)
            gate = self._gates[lane] = EndpointGate(self._bound(endpoint) if endpoint is not None else self._policy)
            state = self._states.get(subscription_id)
            if state is not None:
                # a breaker that another process opened, or we before a restart; by its clock, which may be wrong
                left_us = min(state.opened_until_us - self._clock_us(), self._policy.open_max_us)
                gate.opened_until_us = self._steady_us() + left_us if left_us > 0 else 0
        return gate

    def forget_parked(self) -> None:
        """Parked records may come back to another process from now on."""
        for gate in self._gates.values():
            gate.parked.clear()

    def compile(self, endpoint: Endpoint) -> Target:
        """The endpoint made ready, once for each of its versions; its gate takes over the endpoint's own bounds.

        Raises `UnsealError`.
        """
        target = self._targets.get(endpoint.subscription_id)
        if target is None or target.endpoint is not endpoint:
            target = compile_target(endpoint, self._sealer, now_us=self._clock_us())
            self._targets[endpoint.subscription_id] = target
            self.gate(endpoint.subscription_id.encode()).adopt(self._bound(endpoint))
            self._health.pop(endpoint.subscription_id, None)
        return target

    def forget(self, subscription_id: str) -> None:
        """The subscription was deleted: its secrets must not stay here unsealed, nor anything else for ever."""
        self._targets.pop(subscription_id, None)
        self._health.pop(subscription_id, None)
        gate = self._gates.get(subscription_id.encode())
        if gate is not None and gate.open == 0:
            del self._gates[subscription_id.encode()]

    def is_to_be_disabled(self, endpoint: Endpoint) -> bool:
        """Have we asked for this version of the endpoint to be disabled, and not been heard yet?"""
        health = self._health.get(endpoint.subscription_id)
        return health is not None and health.disable_reason is not None

    def is_replaced(self, endpoint: Endpoint) -> bool:
        """Is there a newer version of this endpoint, so that an answer to this one says nothing about it?"""
        target = self._targets.get(endpoint.subscription_id)
        known = (self._find_endpoint(endpoint.subscription_id), None if target is None else target.endpoint)
        return any(each is not None and each.version > endpoint.version for each in known)

    def succeed(self, endpoint: Endpoint, now_us: int) -> None:
        """Note a request that succeeded."""
        self._note_outcome(endpoint, self._steady_us(), is_failure=False, is_fault=False)
        has_health = endpoint.subscription_id in self._health or self._states.get(endpoint.subscription_id) is not None
        if has_health and not self.is_replaced(endpoint):
            self._find_health(endpoint).succeed()

    def fail(self, endpoint: Endpoint, now_us: int, *, error: str, is_gone: bool, is_fault: bool) -> None:
        """A request failed. `is_gone`: for good; `is_fault`: the endpoint is not able to take it."""
        steady_us = self._steady_us()
        self._note_outcome(endpoint, steady_us, is_failure=True, is_fault=is_fault)
        if self.is_replaced(endpoint):
            return  # its owner changed it while the request was open: the answer says nothing about it as it is now
        health = self._find_health(endpoint)
        opened_until_us = self.gate(endpoint.subscription_id.encode()).opened_until_us
        if opened_until_us:
            opened_until_us += now_us - steady_us  # for other processes
        health.fail(now_us, steady_us, error=error, opened_until_us=opened_until_us)
        disable_after_us = round(self._config.disable_after_s * SECOND_US)
        if is_gone:
            self._ask_to_disable(health, GONE)
        elif health.has_failed_for(disable_after_us) and not self._guard.suspects_us(steady_us):
            self._ask_to_disable(health, FAILING)

    def see_certificate(self, endpoint: Endpoint, certificate: Certificate, now_us: int) -> None:
        """A connection was made."""
        begins_at_us, expires_at_us = certificate
        warn_us = self._config.certificate_warning_days * 86_400 * SECOND_US
        is_late = is_expiring(now_us, begins_at_us=begins_at_us, expires_at_us=expires_at_us, warn_us=warn_us)
        if is_late and not self.is_replaced(endpoint):
            self._find_health(endpoint).see_expiry(now_us, expires_at_us)

    def tell(self, endpoint: Endpoint, now_us: int) -> EndpointState | None:
        """The endpoint's new state; None: there is none to be published now."""
        health = self._health.get(endpoint.subscription_id)
        steady_us = self._steady_us()
        if health is None or not health.should_tell(steady_us) or self.is_replaced(endpoint):
            return None
        return health.tell(
            now_us,
            steady_us,
            subscription_id=endpoint.subscription_id,
            application_id=endpoint.application_id,
            endpoint_version=endpoint.version,
        )

    def list_untold(self) -> list[Endpoint]:
        """Endpoints whose state has changed since it was published, or that are still to be disabled."""
        return [
            self._targets[subscription_id].endpoint
            for subscription_id, health in self._health.items()
            if subscription_id in self._targets and (health.is_dirty or self._is_unanswered(subscription_id, health))
        ]

    def observe_egress(self) -> None:
        """Set the metrics about our own way out."""
        now_us = self._steady_us()
        self._metrics.egress_failing_share.set(self._guard.failing_share(now_us))
        self._metrics.egress_suspected.set(self._guard.suspects_us(now_us))

    def _note_outcome(self, endpoint: Endpoint, steady_us: int, *, is_failure: bool, is_fault: bool) -> None:
        self._guard.note(
            endpoint.subscription_id, endpoint.application_id, steady_us, is_failure=is_failure, is_fault=is_fault
        )

    def _find_health(self, endpoint: Endpoint) -> EndpointHealth:
        health = self._health.get(endpoint.subscription_id)
        if health is None:
            state = self._states.get(endpoint.subscription_id)
            now_us = self._clock_us()
            health = (
                restore_health(state, endpoint_version=endpoint.version, now_us=now_us)
                if state is not None
                else EndpointHealth()
            )
            self._health[endpoint.subscription_id] = health
        return health

    def _is_unanswered(self, subscription_id: str, health: EndpointHealth) -> bool:
        """Does the request to disable this endpoint wait for an answer, which is another version of it?"""
        if health.disable_reason is None:
            return False
        endpoint = self._find_endpoint(subscription_id)
        return endpoint is not None and endpoint.version == self._targets[subscription_id].endpoint.version

    def _ask_to_disable(self, health: EndpointHealth, reason: str) -> None:
        if health.disable_reason != reason:
            self._metrics.disable_requests_total.labels(reason).inc()
        health.ask_to_disable(reason)

    def _bound(self, endpoint: Endpoint) -> GatePolicy:
        most = min(endpoint.concurrency_max or self._policy.concurrency_max, self._policy.concurrency_max)
        return GatePolicy(
            concurrency=min(self._policy.concurrency, most),
            concurrency_max=most,
            waiting_max=self._policy.waiting_max,
            rate_per_s=_bound_rate(endpoint.rate_per_s),
        )

    def _forget_an_idle_gate(self) -> None:
        """Forget the oldest one that is idle. Few are looked at: 100,000 that are busy would take 10 ms each time."""
        for _ in range(FORGET_STEPS):
            lane, gate = self._gates.popitem(last=False)
            if gate.open == 0 and not gate.opened_until_us:
                return
            self._gates[lane] = gate


def _bound_rate(rate_per_s: float | None) -> float | None:
    """The rate, within what a subscription may have: lanes are asked about it outside of any delivery."""
    return None if rate_per_s is None else min(RATE_MAX_PER_S, max(RATE_MIN_PER_S, rate_per_s))
