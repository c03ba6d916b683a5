import json

import pytest

from bench.cases.payloads import (
    GENERATED_COUNT,
    REAL_SIZES_BYTES,
    STAMP_BYTES,
    generate_payload,
    generate_payloads,
    size_at,
)
from bench.instruments.stamp import OPENING, Stamp, close_payload, format_stamp


@pytest.mark.parametrize("size_bytes", [100, 250, 1000, 8000, 26_328])
def test_a_payload_has_the_size_asked_for(size_bytes: int) -> None:
    """A payload with its mark has the size to the byte, and is a JSON object."""
    payload = generate_payload(size_bytes)
    body = OPENING.encode() + format_stamp(Stamp(10**15, 0, 0)) + close_payload(payload).encode()

    assert isinstance(json.loads(payload), dict)
    assert size_bytes == len(body)
    assert STAMP_BYTES == len(body) - len(payload)


def test_generated_payloads_are_spread_like_real_ones() -> None:
    """The smallest, the largest and the median."""
    sizes = sorted(len(payload) + STAMP_BYTES for payload in generate_payloads())

    assert GENERATED_COUNT == len(sizes)
    assert (REAL_SIZES_BYTES[0][1], REAL_SIZES_BYTES[-1][1]) == (sizes[0], sizes[-1])
    assert size_at(0.5) == pytest.approx(sizes[len(sizes) // 2], rel=0.01)


def test_they_are_the_same_every_time() -> None:
    """Two runs send the same."""
    assert generate_payloads() == generate_payloads()
    assert generate_payload(500) == generate_payload(500)
    assert generate_payload(500, seed=1) != generate_payload(500, seed=2)
