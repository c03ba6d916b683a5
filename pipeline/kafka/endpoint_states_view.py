"""The last published health of every endpoint: for the sink that takes an endpoint over, and for the matcher."""

from collections.abc import Callable

import structlog

from pipeline.config import KafkaConfig
from pipeline.core.events.records import EndpointState, expect
from pipeline.kafka.read_faults import ReadFaults
from pipeline.kafka.republishing import KEY as REPUBLISH
from pipeline.kafka.topic_ids import TopicIds
from pipeline.kafka.view import LogView
from pipeline.topics import Topic
from schemas import SchemaError

OPEN_REQUESTS_KEY = "open_requests"  # one for all processes: what an older record tells is read before it is gone
FOR_GATEWAYS = frozenset({REPUBLISH, OPEN_REQUESTS_KEY})

log = structlog.get_logger()


class EndpointStatesView:
    """Follows the endpoint-states topic."""

    def __init__(
        self, config: KafkaConfig, topic: Topic, faults: ReadFaults | None = None, ids: TopicIds | None = None
    ) -> None:
        self._states: dict[str, EndpointState] = {}
        self._view = LogView(config, topic, self._apply, faults, ids)

    async def start(self) -> None:
        """Read all that is there. Raises `StartError`."""
        await self._view.start()

    async def close(self) -> None:
        await self._view.close()

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        return self._view.check()

    def get(self, subscription_id: str) -> EndpointState | None:
        """The last published state; None: there is none."""
        return self._states.get(subscription_id)

    def forget(self, subscription_id: str) -> None:
        """The subscription was deleted."""
        self._states.pop(subscription_id, None)

    def keep(self, is_wanted: Callable[[str], bool]) -> None:
        """Forget all others: those of subscriptions that were deleted would count as failing endpoints."""
        self._states = {key: state for key, state in self._states.items() if is_wanted(key)}

    def is_failing(self, subscription_id: str) -> bool:
        """Has the endpoint failed since its last success?"""
        return subscription_id in self._states

    def list_failing(self) -> list[str]:
        """Endpoints without a success since their last failure."""
        return [subscription_id for subscription_id, state in self._states.items() if state.failing_since_us]

    def _apply(self, key: str, value: bytes | None, _: int) -> None:
        if value is None:
            self._states.pop(key, None)
            return
        if key in FOR_GATEWAYS:
            return
        try:
            state = expect(EndpointState, value)
        except SchemaError as error:
            log.error("endpoint_state_unreadable", subscription_id=key, reason=str(error))
            return
        if state.failing_since_us or state.opened_until_us:
            self._states[key] = state
        else:
            self._states.pop(key, None)  # a healthy one needs no memory
