"""Whether a delivery is cancelled because its subscription was disabled meanwhile, or is deleted."""

from pipeline.core.events.records import Delivery, Endpoint


def is_cancelled(delivery: Delivery, endpoint: Endpoint) -> bool:
    """Was the delivery matched before its subscription was last disabled by its owner, or is that deleted?

    An attempt that a person asked for of this very subscription is cancelled only by deleting it.

    By routes versions, which are in the order of the log. The clocks of PostgreSQL and of a broker may differ by more
    than the time between disabling and enabling; they are compared only where a version is not known.
    """
    if endpoint.deleted:
        return True
    if delivery.is_forced:
        return False
    if delivery.routes_version and endpoint.cancel_before_version:
        return delivery.routes_version < endpoint.cancel_before_version
    return max(delivery.appended_at_us, delivery.asked_at_us) < endpoint.cancel_before_us
