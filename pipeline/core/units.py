"""Units that times are counted in."""

MILLISECOND_US = 1_000
SECOND_US = 1_000_000
