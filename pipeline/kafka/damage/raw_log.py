"""Fetches pieces of a log as the bytes they are. confluent_kafka has no call for that; aiokafka's client does."""

import asyncio
import ssl
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.record import Place

ANSWER_TIMEOUT_S = 10.0
AGAIN_AFTER_S = 0.2
FETCH_WAIT_MS = 50
NO_ERROR, UNKNOWN, OUT_OF_RANGE, CORRUPT = 0, -1, 1, 2
# what a broker answers that cannot read its own file at an offset
UNREADABLE = frozenset({UNKNOWN, CORRUPT})
ANSWERS = UNREADABLE | {NO_ERROR, OUT_OF_RANGE}
EARLIEST, LATEST = -2, -1


class Piece(NamedTuple):
    """Bytes of a partition that has the offsets from `begin` to before `end`.

    They begin with the batch of the offset asked for. None: it is not in the partition, or the broker cannot find it.
    """

    data: bytes
    begin: int
    end: int


class RawLog:
    """Blocks; for one thread, on which no loop runs. Raises `TimeoutError` when Kafka does not answer."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._client: AIOKafkaClient | None = None

    def fetch(self, place: Place, offset: int, max_bytes: int) -> Piece:
        """At least one batch as the broker sees it, whatever `max_bytes`, unless `offset` is the log's end."""
        return self._loop.run_until_complete(self._fetch_patiently(place, offset, max_bytes))

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._loop.run_until_complete(self._client.close())
            self._client = None
        self._loop.close()

    async def _fetch_patiently(self, place: Place, offset: int, max_bytes: int) -> Piece:
        reason = ""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    try:
                        piece = await self._fetch(place, offset, max_bytes)
                    except (KafkaError, OSError) as error:
                        reason = str(error)
                    else:
                        if piece is not None:
                            return piece
                    await asyncio.sleep(AGAIN_AFTER_S)
                    if self._client is not None:
                        await self._client.force_metadata_update()
        except TimeoutError:
            raise TimeoutError(f"{place[0]} [{place[1]}] does not answer at {offset}: {reason}") from None

    async def _fetch(self, place: Place, offset: int, max_bytes: int) -> Piece | None:
        topic, partition = place
        client = await self._connect()
        await client.add_topic(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader < 0:
            return None
        request = FetchRequest(FETCH_WAIT_MS, 1, max_bytes, 0, [(topic, [(partition, offset, max_bytes)])])
        answer = await client.send(leader, request)
        ((_, ((_, code, end, _, begin, _, *_, data),)),) = answer.topics
        if code in UNREADABLE and end < 0:
            begin, end = await self._ask_bounds(client, leader, place)
        # any other code: the leader has moved, or is not ready
        return Piece(bytes(data or b""), begin, end) if code in ANSWERS else None

    async def _ask_bounds(self, client: AIOKafkaClient, leader: int, place: Place) -> tuple[int, int]:
        """Where a partition begins and ends: an error does not say it."""
        topic, partition = place
        found = []
        for which in (EARLIEST, LATEST):
            answer = await client.send(leader, OffsetRequest(-1, 0, [(topic, [(partition, which)])]))
            ((_, ((_, code, _, offset, *_),)),) = answer.topics
            if code != NO_ERROR:
                raise KafkaError(f"where {topic} [{partition}] begins and ends is not known: {code}")
            found.append(offset)
        return found[0], found[1]

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
    """What aiokafka needs to reach the brokers."""
    options: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap_servers,
        "client_id": "hookline-look",
        "request_timeout_ms": int(ANSWER_TIMEOUT_S * 1000),
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
