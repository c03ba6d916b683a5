"""Takes a member out of a group. confluent_kafka has no call for that; aiokafka's client does."""

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.group import LeaveGroupRequest

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.raw_log import choose_options

NO_ERROR, UNKNOWN_MEMBER = 0, 25


async def leave(config: KafkaConfig, group: str, member: str) -> None:
    """One that is gone already is no error. Raises what aiokafka does, of the coordinator too."""
    client = AIOKafkaClient(**choose_options(config))
    try:
        await client.bootstrap()
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        answer = await client.send(coordinator, LeaveGroupRequest(group, member))
        if answer.error_code not in (NO_ERROR, UNKNOWN_MEMBER):
            raise for_code(answer.error_code)
    finally:
        await client.close()
