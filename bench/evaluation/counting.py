"""Do the counts of a run add up? Accepted, delivered and archived must be the same events. Pure."""

from collections.abc import Mapping, Sequence

from bench.evaluation.evaluation import Evidence
from bench.evaluation.result import GroupCounts
from bench.instruments.plan import ReceiverProgress
from pipeline.postgres.archive.counts import ArchivedCounts


def count_group(evidence: Evidence, archived: ArchivedCounts | None) -> GroupCounts:
    """A group in the whole run."""
    sent, reckoning = evidence.sent, evidence.reckoning
    return GroupCounts(
        statuses=sent.describe_statuses(),
        accepted=sent.count_accepted(),
        refused=sent.count_refused(),
        unknown=sent.count_unknown(),
        deliveries_expected=reckoning.expected,
        delivered=reckoning.arrived,
        repeated=reckoning.repeated,
        lost=reckoning.lost if evidence.group.must_arrive else 0,
        unasked=reckoning.unasked,
        archived_events=archived.events if archived is not None else None,
        archived_deliveries=archived.deliveries if archived is not None else None,
        archived_succeeded=archived.succeeded if archived is not None else None,
    )


def find_problems(
    evidence: Sequence[Evidence], counts: Mapping[str, GroupCounts], receiver: ReceiverProgress
) -> list[str]:
    """Counts that do not add up, as sentences."""
    problems = []
    for each in evidence:
        problems += [f"{each.group.name}: {problem}" for problem in find_count_problems(counts[each.group.name], each)]
    if receiver.misunderstood:
        problems.append(f"{receiver.misunderstood} requests arrived that are no deliveries of this run")
    return problems


def find_count_problems(counts: GroupCounts, evidence: Evidence) -> list[str]:
    """Counts of one group that do not add up, as sentences."""
    fan_out, problems = evidence.group.fan_out, []
    if not counts.accepted:
        problems.append(f"no event was accepted: {counts.statuses}")
    if counts.refused:
        problems.append(f"{counts.refused} events were refused: {counts.statuses}")
    if counts.lost:
        problems.append(f"{counts.lost} deliveries of accepted events were LOST")
    if counts.unasked:
        problems.append(f"{counts.unasked} deliveries went to endpoints they were not for")
    if counts.archived_events is None:
        return problems
    most = counts.accepted + counts.unknown
    if not counts.accepted <= counts.archived_events <= most:
        problems.append(f"{counts.accepted} events were accepted and {counts.archived_events} are archived")
    if counts.archived_deliveries != counts.archived_events * fan_out:
        problems.append(f"{counts.archived_deliveries} deliveries are archived, not {fan_out} for each event")
    if evidence.group.must_arrive and counts.archived_succeeded != counts.delivered:
        problems.append(f"{counts.delivered} deliveries arrived, {counts.archived_succeeded} are archived as such")
    return problems
