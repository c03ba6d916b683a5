"""Names of event types with wildcards: `billing.*.paid`, `shop.**`. Pure.

A name's parts stand between dots. `*` is any one part, `**` any number of parts, also none; only whole parts are
wildcards.
"""

from collections.abc import Sequence

WILDCARDS = frozenset({"*", "**"})


def is_pattern(name: str) -> bool:
    """Does the pattern have a wildcard?"""
    return "*" in name and not WILDCARDS.isdisjoint(name.split("."))


def do_match(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    """Does a pattern select a name, both in parts? Takes at most as many steps as the product of their numbers."""
    at = place = 0
    last_star, resumed_at = -1, 0
    while place < len(parts):
        if at < len(wanted) and wanted[at] == "**":
            last_star, resumed_at = at, place
            at += 1
        elif at < len(wanted) and wanted[at] in ("*", parts[place]):
            at, place = at + 1, place + 1
        elif last_star >= 0:
            # the last `**` takes one part more
            resumed_at += 1
            at, place = last_star + 1, resumed_at
        else:
            return False
    return all(part == "**" for part in wanted[at:])
