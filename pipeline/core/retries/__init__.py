"""The steps after an attempt: retries, tiers, cancelling, and whether an endpoint is disabled."""
