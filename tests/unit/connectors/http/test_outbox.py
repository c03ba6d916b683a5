"""Records that deliver does not wait for: a failure to write them is logged with what was lost."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from connectors.http.outbox import Outbox, Written
from pipeline.core.events.records import EndpointState, OpenRequests
from pipeline.kafka.producer import ToSend
from pipeline.metrics import Metrics
from pipeline.topics import declare_topics

STATE = EndpointState(subscription_id="s", application_id="a", endpoint_version=1, changed_at_us=1)
OPEN = OpenRequests(
    process="deliver.1", requests=[{"attempt_id": f"{n}", "started_at_us": n, "until_us": n} for n in (1, 2, 3)]
)


class Refusing:
    """A writer whose every record is refused."""

    def send_bytes(self, records: Sequence[ToSend]) -> Written:
        written: Written = asyncio.get_running_loop().create_future()
        written.set_exception(RuntimeError("the topic refuses"))
        return written

    async def wait_open(self) -> None:
        return


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        (
            lambda outbox: outbox.publish_state(STATE),
            {"event": "endpoint_state_unpublished", "subscription_id": "s", "reason": "the topic refuses"},
        ),
        (
            lambda outbox: outbox.publish_open_requests(OPEN),
            {"event": "open_requests_unpublished", "requests": 3, "reason": "the topic refuses"},
        ),
    ],
    ids=["state", "open requests"],
)
async def test_an_unpublished_record_is_named(publish: Callable[[Outbox], None], expected: dict[str, object]) -> None:
    """The line of a state names the subscription; that of open requests, which have none, their number."""
    outbox = Outbox(declare_topics(prefix="t.", partitions=1, event_retention_s=60), Refusing(), Metrics("deliver"))
    with capture_logs() as lines:
        publish(outbox)
        await asyncio.sleep(0)

    assert [expected | {"log_level": "warning"}] == lines
