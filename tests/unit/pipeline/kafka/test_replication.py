"""Risks of a topic's replicas."""

import pytest

from pipeline.kafka.replication import OFFSETS, describe_leaderless, list_risks

SAFE = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize(
    ("replicas", "brokers", "settings", "said"),
    [
        (1, 1, {"min.insync.replicas": "1"}, []),
        (3, 3, SAFE, []),
        (3, 5, {}, []),
        (1, 3, SAFE, ["1 replica on 3 brokers"]),
        (3, 3, SAFE | {"min.insync.replicas": "1"}, ["min.insync.replicas is 1 of 3"]),
        (3, 3, SAFE | {"min.insync.replicas": "3"}, ["min.insync.replicas is 3 of 3"]),
        (2, 3, SAFE, ["min.insync.replicas is 2 of 2"]),
        (3, 3, SAFE | {"unclean.leader.election.enable": "true"}, ["unclean.leader.election.enable is true"]),
    ],
)
def test_what_a_lost_or_absent_broker_does_is_said(
    replicas: int, brokers: int, settings: dict[str, str], said: list[str]
) -> None:
    """One broker has no choice; on several a topic is to outlive one of them, and to take records without one."""
    risks = list_risks(replicas, settings, brokers=brokers)

    assert len(said) == len(risks)
    for begin, risk in zip(said, risks, strict=True):
        assert risk.startswith(begin)
        assert "docs/operating.md" in risk


def test_partitions_without_a_leader_are_counted() -> None:
    """Partitions of the groups' positions hold up groups, not topics."""
    assert describe_leaderless("hookline.events", [1, 2, 3]) is None
    assert "2 of 3 partitions have no leader: they are" in (describe_leaderless("hookline.events", [-1, 2, -1]) or "")
    assert "1 of 2 partitions have no leader: their groups" in (describe_leaderless(OFFSETS, [-1, 2]) or "")
