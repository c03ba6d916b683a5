"""Notices of quotas outlast a log that does not take them."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest

from pipeline.core.events.records import Event
from pipeline.gateway import usage
from pipeline.gateway.usage import EventUsage
from pipeline.kafka.producer import KafkaUnavailableError
from pipeline.topics import Topic, declare_topics

TOPICS = declare_topics(prefix="t.", partitions=1, event_retention_s=3600)


class Log:
    """A log that takes no record while `is_away`."""

    def __init__(self) -> None:
        self.is_away = True
        self.taken: list[str] = []

    async def send(self, topic: Topic, key: str, event: Event) -> None:
        assert topic is TOPICS.events
        if self.is_away:
            raise KafkaUnavailableError("no broker")
        self.taken.append(key)


async def test_a_notice_that_the_log_did_not_take_is_given_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_limits(*_: Any) -> Mapping[str, int]:
        return {}

    async def read_totals(_: Any, day: date, applications: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(applications, 0)

    async def add(_: Any, day: date, added: Mapping[str, int]) -> Mapping[str, int]:
        return dict.fromkeys(added, 85)

    monkeypatch.setattr(usage, "read_daily_limits", read_limits)
    monkeypatch.setattr(usage, "read_usage", read_totals)
    monkeypatch.setattr(usage, "add_usage", add)
    log = Log()
    counted: Any = EventUsage(100, None, log, TOPICS, clock_us=lambda: 0)  # type: ignore[arg-type]  # see `Log`
    for application_id in ("one", "two"):
        await counted.find_room(application_id, 1)
        counted.count(application_id)
    with pytest.raises(KafkaUnavailableError):
        await counted.add_up()
    log.is_away = False
    await counted.add_up()
    await counted.add_up()

    assert ["one", "two"] == sorted(log.taken)
