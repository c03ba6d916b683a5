"""Asks the gateways to publish all applications again after a view has stepped over a batch that it cannot read."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from pipeline.core.events.records import RepublishAsked
from pipeline.kafka.producer import KafkaUnavailableError, LogProducer
from pipeline.topics import Topic

INTERVAL_S = 0.5
KEY = "republish"  # one for all: one gateway gets every request, so requests at about the same time are served together

log = structlog.get_logger()


class View(Protocol):
    """A topic in memory."""

    def take_incomplete(self) -> bool:
        """Was a batch stepped over since the last call?"""


async def ask_regularly(
    view: View, of: Topic, producer: LogProducer, to: Topic, *, process: str, clock_us: Callable[[], int]
) -> None:
    """Write a request to `to` whenever `view`, of the topic `of`, is incomplete. Runs for ever."""
    is_due = False
    while True:
        is_due |= view.take_incomplete()
        if is_due:
            try:
                await producer.send(to, KEY, RepublishAsked(process=process, topic=of.name, asked_at_us=clock_us()))
            except KafkaUnavailableError as error:
                log.warning("republish_waits", topic=of.name, reason=str(error))
            else:
                log.warning("republish_asked", topic=of.name)
                is_due = False
        await asyncio.sleep(INTERVAL_S)
