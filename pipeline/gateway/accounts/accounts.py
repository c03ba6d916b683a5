"""Parts that the operations on users need, made once per gateway."""

import time
from collections.abc import Callable

from pipeline.config import AccountsConfig
from pipeline.core.limits.request_rate import RequestRate
from pipeline.gateway.accounts.hashing import Passwords
from pipeline.gateway.accounts.mail import Mailer
from pipeline.gateway.accounts.oidc_provider import Provider
from pipeline.gateway.problems import Problem
from pipeline.metrics import Metrics
from pipeline.start_error import StartError

CALLBACK_PATH = "/api/v1/auth/oidc/callback"


class Accounts:
    """Each gateway counts attempts for itself."""

    def __init__(
        self,
        config: AccountsConfig,
        metrics: Metrics,
        *,
        public_url: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `StartError` when the settings contradict each other."""
        self.config = config
        self.passwords = Passwords(at_once=config.hashes_at_once)
        self.mailer = Mailer(config, metrics)
        if config.registration and not self.mailer.is_on:
            raise StartError(
                "HOOKLINE_ACCOUNTS_REGISTRATION needs HOOKLINE_ACCOUNTS_SMTP_URL: who registers proves the e-mail "
                "address by a link; without e-mail users are created with the master key"
            )
        self.provider = _make_provider(config, public_url)
        self._clock = clock
        self._of_account = RequestRate(rate_per_s=config.account_rate_per_s, burst=config.account_burst)
        self._of_client = RequestRate(rate_per_s=config.address_rate_per_s, burst=config.address_burst)

    def count_attempt(self, address: str | None, email: str | None = None) -> None:
        """Count an attempt. Raises `Problem("RateLimited")` if its IP or e-mail address has made too many."""
        now_s = self._clock()
        wait_s = self._of_client.take(address, now_s)
        if wait_s <= 0 and email is not None:
            wait_s = self._of_account.take(email.lower(), now_s)
        if wait_s > 0:
            raise Problem("RateLimited", detail="Too many attempts.", retry_after_s=wait_s)


def _make_provider(config: AccountsConfig, public_url: str | None) -> Provider | None:
    if config.oidc_issuer is None:
        return None
    if public_url is None:
        raise StartError(
            "HOOKLINE_ACCOUNTS_OIDC_ISSUER needs HOOKLINE_GATEWAY_PUBLIC_URL: the provider sends browsers back to it"
        )
    redirect_url = f"{public_url.rstrip('/')}{CALLBACK_PATH}"
    return Provider(config, issuer=config.oidc_issuer, redirect_url=redirect_url)
