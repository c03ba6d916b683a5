"""The partition of a key: Kafka's murmur2, which every producer here is configured to use (`murmur2_random`)."""

from functools import lru_cache

# Keys come again and again: computing one takes 5 µs.
KEYS_MAX = 50_000
MASK = 0xFFFFFFFF
SEED = 0x9747B28C
M = 0x5BD1E995


@lru_cache(KEYS_MAX)
def locate_partition(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of `partitions` partitions (what Kafka's default partitioner computes)."""
    return (hash_murmur2(key) & 0x7FFFFFFF) % partitions


def hash_murmur2(data: bytes) -> int:
    """32-bit murmur2 with Kafka's seed."""
    length = len(data)
    value = (SEED ^ length) & MASK
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little")
        k = (k * M) & MASK
        k ^= k >> 24
        k = (k * M) & MASK
        value = ((value * M) & MASK) ^ k
    if length % 4:
        value ^= int.from_bytes(data[whole:], "little")
        value = (value * M) & MASK
    value ^= value >> 13
    value = (value * M) & MASK
    return value ^ (value >> 15)
