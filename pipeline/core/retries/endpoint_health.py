"""How one endpoint has been doing over days: since when it fails, and whether its subscription should be disabled.

Decisions are published as a record (`EndpointState`); the control plane acts on them. Pure: times are handed in.
`now_us` is the time of day, for display; `steady_us` is a monotonic clock, on which every deciding duration is counted:
a clock that was wrong for two seconds must not disable a subscription.
"""

from dataclasses import dataclass

from pipeline.core.events.records import EndpointState

# A flapping endpoint must not fill the log: between two tellings of changes that can wait.
TELL_INTERVAL_US = 5_000_000
# An owner is warned of a certificate that expires soon once a day, until there is another one.
WARN_INTERVAL_US = 86_400_000_000
# A request to disable may be lost: in the log's lost end, or because the gateway that read it failed at it.
ASK_AGAIN_INTERVAL_US = 300_000_000
# Failing time since the last publication: a successor goes on from there.
TELL_GROWTH_US = 3_600_000_000
# Between two processes there is only the time of day: it counts for no more than the longest wait between attempts.
RESTORED_GAP_MAX_US = 12 * 3_600_000_000
# Days in which next to nothing was tried say little.
DISABLE_FAILURES_MIN = 5
GONE = "gone"
FAILING = "failing"


@dataclass(slots=True, kw_only=True)
class EndpointHealth:
    """The health of one endpoint. `failed_for_us`: by the steady clock, of `failures` attempts without a success.

    `told_at_us`: of the steady clock, when it was published last; None: never. `restored_gap_us`: between the published
    state and this process, added with the next failure.
    """

    failing_since_us: int = 0
    opened_until_us: int = 0
    last_error: str | None = None
    disable_reason: str | None = None
    certificate_expires_at_us: int = 0
    certificate_warned_at_us: int = 0
    failed_for_us: int = 0
    failures: int = 0
    restored_gap_us: int = 0
    failed_at_us: int | None = None
    told_failed_for_us: int = 0
    told_at_us: int | None = None
    is_dirty: bool = False
    is_warning: bool = False

    def succeed(self) -> None:
        """A request succeeded."""
        if self.failing_since_us or self.disable_reason:
            self.failing_since_us = self.opened_until_us = 0
            self.failed_for_us = self.failures = self.restored_gap_us = self.told_failed_for_us = 0
            self.failed_at_us = None
            self.last_error = self.disable_reason = None
            self.is_dirty = True

    def fail(self, now_us: int, steady_us: int, *, error: str, opened_until_us: int) -> None:
        """A request failed; `opened_until_us`: the breaker's state, 0 when it is closed."""
        since_us = self.failed_at_us
        self.failed_for_us += max(0, steady_us - since_us) if since_us is not None else self.restored_gap_us
        self.failed_at_us, self.restored_gap_us = steady_us, 0
        self.failures += 1
        if self.failed_for_us - self.told_failed_for_us >= TELL_GROWTH_US:
            self.is_dirty = True
        if not self.failing_since_us:
            self.failing_since_us = now_us
            self.is_dirty = True
        if self.opened_until_us != opened_until_us:
            self.opened_until_us = opened_until_us
            self.is_dirty = True
        self.last_error = error

    def ask_to_disable(self, reason: str) -> None:
        """Ask the control plane to disable the subscription."""
        if self.disable_reason != reason:
            self.disable_reason = reason
            self.is_dirty = True
            self.told_at_us = None  # this is not to wait

    def see_expiry(self, now_us: int, expires_at_us: int) -> None:
        """The endpoint has shown a certificate that expires soon."""
        if now_us - self.certificate_warned_at_us >= WARN_INTERVAL_US:
            self.certificate_expires_at_us = expires_at_us
            self.is_warning = self.is_dirty = True

    def has_failed_for(self, longest_us: int) -> bool:
        """Has the endpoint failed for longer than this, in enough attempts to say so?"""
        return self.failed_for_us > longest_us and self.failures >= DISABLE_FAILURES_MIN

    def should_tell(self, steady_us: int) -> bool:
        """Has a change not been published yet, or a request to disable not been answered, and is it time to?"""
        if self.told_at_us is None:
            return self.is_dirty
        interval_us = TELL_INTERVAL_US if self.is_dirty else ASK_AGAIN_INTERVAL_US
        return (self.is_dirty or self.disable_reason is not None) and steady_us - self.told_at_us >= interval_us

    def tell(
        self, now_us: int, steady_us: int, *, subscription_id: str, application_id: str, endpoint_version: int
    ) -> EndpointState:
        """The record that tells it."""
        self.is_dirty = False
        self.told_at_us = steady_us
        self.told_failed_for_us = self.failed_for_us
        if self.is_warning:
            self.is_warning = False
            self.certificate_warned_at_us = now_us
        return EndpointState(
            subscription_id=subscription_id,
            application_id=application_id,
            endpoint_version=endpoint_version,
            changed_at_us=now_us,
            failing_since_us=self.failing_since_us,
            opened_until_us=self.opened_until_us,
            last_error=self.last_error,
            disable_reason=self.disable_reason,
            certificate_expires_at_us=self.certificate_expires_at_us,
            certificate_warned_at_us=self.certificate_warned_at_us,
            failed_for_us=self.failed_for_us,
            failures=self.failures,
        )


def is_expiring(now_us: int, *, begins_at_us: int, expires_at_us: int, warn_us: int) -> bool:
    """Is the renewal of this certificate late?

    A certificate with a short life is renewed late and often: with a third of its life left there is no need to warn.
    """
    return expires_at_us - now_us < min(warn_us, (expires_at_us - begins_at_us) // 3)


def restore_health(state: EndpointState, *, endpoint_version: int, now_us: int) -> EndpointHealth:
    """The health that was published last, for a process that takes over.

    The state of another version of the endpoint says nothing about this one, but when its owner was warned last.
    """
    if state.endpoint_version != endpoint_version:
        return EndpointHealth(
            certificate_expires_at_us=state.certificate_expires_at_us,
            certificate_warned_at_us=state.certificate_warned_at_us,
        )
    return EndpointHealth(
        failing_since_us=state.failing_since_us,
        opened_until_us=state.opened_until_us,
        last_error=state.last_error,
        certificate_expires_at_us=state.certificate_expires_at_us,
        certificate_warned_at_us=state.certificate_warned_at_us,
        failed_for_us=state.failed_for_us,
        failures=state.failures,
        restored_gap_us=min(max(0, now_us - state.changed_at_us), RESTORED_GAP_MAX_US) if state.failures else 0,
        told_failed_for_us=state.failed_for_us,
    )
