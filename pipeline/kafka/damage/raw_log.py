"""Asks brokers for the log as the bytes it is, and where it was cut off. confluent_kafka has no call for that.

aiokafka's client has: by itself it decides nothing and reads nothing.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.epoch_request import EpochRequest
from pipeline.kafka.record import Place
from pipeline.kafka.throttles import THROTTLES

ANSWER_TIMEOUT_S = 10.0
# Then the connection is given up: of several brokers one that is silent is asked first by chance.
REQUEST_TIMEOUT_S = 4.0
AGAIN_AFTER_S = 0.2
# At the end of a log nothing is waited for. 50 ms held up each partition that a consumer looks at when it starts, one
# after the other: deliver read the last of its four 0.5 s after the first.
FETCH_WAIT_MS = 0
NO_ERROR = 0
# No topic or leader, one that has moved or is not ready, or no permission. Every other error is one of the file there,
# which has many names: a broker stumbles over a damaged header in many ways.
NO_ANSWERS = frozenset({3, 5, 6, 7, 9, 29, 31, 56, 74, 75, 78, 100, 103})
EARLIEST, LATEST = -2, -1
READ_UNCOMMITTED, READ_COMMITTED = 0, 1

T = TypeVar("T")
Ask = Callable[[AIOKafkaClient, int], Awaitable[T | None]]  # of a partition's leader; None: it does not know


class Piece(NamedTuple):
    """Bytes of a partition that has the offsets from `begin` to before `end`.

    They begin with the batch of the offset asked for. None: it is not in the partition, or the broker cannot find it.
    `aborted`: transactions in it that came to nothing, each as its producer's id and first offset.
    """

    data: bytes
    begin: int
    end: int
    aborted: Sequence[tuple[int, int]] = ()


class HeldBackError(Exception):
    """A quota of the broker holds the client back for longer than is waited here."""


class RawLog:
    """Blocks; for one thread, on which no loop runs. Every call raises `TimeoutError` when Kafka does not answer."""

    def __init__(self, config: KafkaConfig, *, with_open: bool = True) -> None:
        """`with_open`: also what open transactions hold back."""
        self._config = config
        self._isolation = READ_UNCOMMITTED if with_open else READ_COMMITTED
        self._loop = asyncio.new_event_loop()
        self._client: AIOKafkaClient | None = None
        self._throttle = THROTTLES.open()

    def fetch(self, place: Place, offset: int, max_bytes: int) -> Piece:
        """Fetch at least one batch as the broker sees it, whatever `max_bytes`, unless `offset` is the log's end."""

        async def ask(client: AIOKafkaClient, leader: int) -> Piece | None:
            wanted = [(place[0], [(place[1], offset, max_bytes)])]
            answer = await client.send(leader, FetchRequest(FETCH_WAIT_MS, 1, max_bytes, self._isolation, wanted))
            if not answer.topics:  # nothing is read beyond a quota, and the connection is silent for so long
                held_s = answer.throttle_time_ms / 1000
                self._throttle.hold(held_s)
                reason = f"a quota of the broker holds this client back, {answer.throttle_time_ms} ms this time"
                # a batch of more than ten seconds of the quota is never given: other partitions do not wait for it
                raise KafkaError(reason) if held_s < ANSWER_TIMEOUT_S else HeldBackError(reason)
            self._throttle.hold(0)
            ((_, ((_, code, end, stable_end, begin, aborted, *_, data),)),) = answer.topics
            if code in NO_ANSWERS:
                raise for_code(code)
            if end < 0:  # an error does not say it
                begin, end = await self._ask_bounds(client, leader, place)
            elif self._isolation == READ_COMMITTED and stable_end >= 0:
                end = stable_end
            return Piece(bytes(data or b""), begin, end, aborted or ())

        return self._run(place, ask)

    def find_bounds(self, place: Place) -> tuple[int, int]:
        """Where a partition begins and ends."""

        async def ask(client: AIOKafkaClient, leader: int) -> tuple[int, int]:
            return await self._ask_bounds(client, leader, place)

        return self._run(place, ask)

    def find_epoch_end(self, place: Place, epoch: int) -> int | None:
        """Where the records end that were written under a leader of this epoch or before; None: not known."""

        async def ask(client: AIOKafkaClient, leader: int) -> int | None:
            answer = await client.send(leader, EpochRequest(*place, epoch))
            ((_, ((code, _, _, end),)),) = answer.topics
            return int(end) if code == NO_ERROR else None

        end = self._run(place, ask)
        return end if end >= 0 else None

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self._disconnect())
        self._loop.close()

    def _run(self, place: Place, ask: Ask[T]) -> T:
        return self._loop.run_until_complete(self._ask_patiently(place, ask))

    async def _ask_patiently(self, place: Place, ask: Ask[T]) -> T:
        reason = f"nothing came within {ANSWER_TIMEOUT_S:g} s"
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    try:
                        answer = await self._ask(place, ask)
                    except (KafkaError, OSError) as error:
                        reason = str(error)
                    else:
                        if answer is not None:
                            return answer
                    await asyncio.sleep(AGAIN_AFTER_S)
                    if self._client is not None:
                        await self._client.force_metadata_update()
        except (TimeoutError, HeldBackError) as error:
            if isinstance(error, HeldBackError):
                reason = str(error)
            # A connection that a broker throttles is silent for minutes, and one to a vanished broker for ever.
            await self._disconnect()
            raise TimeoutError(f"{place[0]} [{place[1]}] does not answer: {reason}") from None

    async def _ask(self, place: Place, ask: Ask[T]) -> T | None:
        client = await self._connect()
        await client.add_topic(place[0])
        leader = client.cluster.leader_for_partition(TopicPartition(*place))
        return None if leader is None or leader < 0 else await ask(client, leader)

    async def _ask_bounds(self, client: AIOKafkaClient, leader: int, place: Place) -> tuple[int, int]:
        topic, partition = place
        found = []
        for which in (EARLIEST, LATEST):
            answer = await client.send(leader, OffsetRequest(-1, self._isolation, [(topic, [(partition, which)])]))
            ((_, ((_, code, _, offset, *_),)),) = answer.topics
            if code != NO_ERROR:
                raise KafkaError(f"where {topic} [{partition}] begins and ends is not known: {code}")
            found.append(offset)
        return found[0], found[1]

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connect(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(**choose_options(self._config))
            try:
                await client.bootstrap()
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client


def choose_options(config: KafkaConfig) -> dict[str, Any]:
    """Choose the options by which aiokafka reaches the brokers."""
    options: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap_servers,
        "client_id": "hookline-look",
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        "security_protocol": "SSL" if config.tls else "PLAINTEXT",
    }
    if config.tls:
        options["ssl_context"] = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    if config.username is not None:
        options |= {
            "security_protocol": "SASL_SSL" if config.tls else "SASL_PLAINTEXT",
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.username,
            "sasl_plain_password": config.password.get_secret_value() if config.password else "",
        }
    return options
