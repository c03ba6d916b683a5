"""Brokers with quotas: a fetch beyond one is answered at once, with nothing, not even the partition asked for."""

import asyncio
from uuid import uuid4

from pipeline.kafka.damage.raw_log import Piece, RawLog
from tests.integration.damage.conftest import OwnBroker
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.quotas import set_quota

QUOTA = "hookline-look", "consumer_byte_rate"
ATTEMPTS_MAX = 20


async def test_a_throttled_fetch_waits(broker: OwnBroker, prefix: str) -> None:
    """A quota ended the matcher at each start, while it looked at a log that gave nothing."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    site.send(str(uuid4()), 20)
    place = (site.topics.events.name, 0)

    def fetch() -> Piece:
        raw = RawLog(site.config)
        try:
            return raw.fetch(place, 0, 1_000_000)
        finally:
            raw.close()

    def fetch_until_throttled() -> str:
        for _ in range(ATTEMPTS_MAX):
            try:
                fetch()
            except TimeoutError as error:
                return str(error)
        return ""

    set_quota(broker.servers, *QUOTA, 1.0)
    try:
        reason = await asyncio.to_thread(fetch_until_throttled)
    finally:
        set_quota(broker.servers, *QUOTA, None)

    assert "a quota of the broker holds this client back" in reason
    assert 20 == (await eventually(lambda: asyncio.to_thread(fetch))).end
