"""Whether a subscription fits into the records it is published as: one that does not could be saved and never used."""

from datetime import UTC, datetime

from pipeline.core.events.records import to_bytes
from pipeline.gateway.published_records import describe_endpoint, describe_rule
from pipeline.gateway.validation import Findings
from pipeline.postgres.control.publications import ChangedSubscription
from pipeline.postgres.control.subscriptions import SealedSecret, Subscription, SubscriptionContent

# Key, headers and versions, and what a rotation adds, with room to spare.
ENVELOPE_MAX_BYTES = 4 * 1024
SOME_ID = "00000000-0000-0000-0000-000000000000"


def require_fits(content: SubscriptionContent, *, record_max_bytes: int) -> None:
    """Check that the record fits into the log. Raises `Problem` if not."""
    now = datetime.max.replace(tzinfo=UTC)
    subscription = Subscription(
        subscription_id=SOME_ID,
        application_id=SOME_ID,
        content=content,
        secrets=(SealedSecret(key_id="", sealed=b""),),
        created_at=now,
        updated_at=now,
    )
    changed = ChangedSubscription(subscription=subscription, created_version=0, changed_version=0)
    records = (describe_rule(changed), describe_endpoint(subscription, version=0, deleted=False))
    size_bytes = max(len(to_bytes(record)) for record in records) + ENVELOPE_MAX_BYTES
    if size_bytes > record_max_bytes:
        findings = Findings()
        message = f"the subscription takes {size_bytes} bytes in the log, where a record may have {record_max_bytes}"
        findings.add("delivery", "subscription-size", message, max=record_max_bytes)
        findings.raise_if_any()
