"""Claim checks: a delivery of a large payload names its event's record instead of repeating the payload.

An event of 500 KB for 100 subscriptions would be 50 MB of log otherwise, and again as much at each retry. The pattern
is the claim check of Hohpe and Woolf's Enterprise Integration Patterns.
"""

from pipeline.core.events.records import Delivery, written_version

CLAIM_CHECKS_SINCE = 4  # the version of the delivery's schema that has them
NOWHERE = -1

Payload = bytes | memoryview


def is_claim_check(delivery: Delivery) -> bool:
    """Is the payload in the event's record, not in the delivery?"""
    return delivery.payload_offset != NOWHERE


def writes_claim_checks() -> bool:
    """Are claim checks written? Not while deliveries are written in an older schema without them."""
    return written_version(Delivery) >= CLAIM_CHECKS_SINCE
