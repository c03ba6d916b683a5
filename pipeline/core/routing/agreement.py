"""Do database and log agree about an application? The database is the truth."""

from enum import StrEnum


class Verdict(StrEnum):
    """Result of a comparison. `behind`: the log lacks a version, or this process has not read it yet."""

    AGREED = "agreed"
    FOREIGN = "foreign"
    BEHIND = "behind"


def judge(logged: tuple[int, str] | None, *, newest: tuple[int, str], published: tuple[int, str]) -> Verdict:
    """Compare versions, each with the id of the change that made it ("" where there was none yet).

    `logged`: the version in the log, or None; read before the two others. In a log that this database wrote, it is
    between `published` (acknowledged) and `newest`.
    """
    if logged is None:
        return Verdict.BEHIND if published[0] > 0 else Verdict.AGREED
    version, change_id = logged
    if version > newest[0]:
        return Verdict.FOREIGN
    for known_version, known_id in (newest, published):
        if version == known_version and "" not in (change_id, known_id) and change_id != known_id:
            return Verdict.FOREIGN
    return Verdict.BEHIND if version < published[0] else Verdict.AGREED
