"""Matching: which subscriptions of an application select an event.

A subscription selects an event when it is enabled, names the event's type, and all of its labels are among the
event's labels. Compiled routes look an event up by type and by one label, so that the number of subscriptions of an
application does not show in the time it takes.
"""

from collections import Counter
from collections.abc import Mapping

from pipeline.core.records import Routes

Label = tuple[str, str]


class Candidate:
    """A subscription as matching sees it."""

    __slots__ = ("labels", "subscription_id")

    def __init__(self, subscription_id: str, labels: Mapping[str, str]) -> None:
        self.subscription_id = subscription_id
        self.labels = tuple(labels.items())


class CompiledRoutes:
    """A snapshot, indexed: type → label → the subscriptions that can match only an event with that label."""

    __slots__ = ("_by_type", "deleted", "event_types", "version")

    def __init__(self, routes: Routes) -> None:
        self.version = routes.version
        self.deleted = routes.deleted
        self.event_types = frozenset(routes.event_types)
        self._by_type: dict[str, dict[Label | None, list[Candidate]]] = {}
        enabled = [subscription for subscription in routes.subscriptions if subscription["enabled"]]
        common = Counter(label for subscription in enabled for label in subscription["labels"].items())
        for subscription in enabled:
            candidate = Candidate(subscription["subscription_id"], subscription["labels"])
            # The rarest label tells subscriptions apart best: few events have it, few subscriptions share it.
            anchor = min(candidate.labels, key=lambda label: (common[label], label), default=None)
            for event_type in subscription["event_types"]:
                self._by_type.setdefault(event_type, {}).setdefault(anchor, []).append(candidate)

    def match(self, event_type: str, labels: Mapping[str, str]) -> list[str]:
        """Subscription ids that select an event of this type with these labels, each once."""
        anchors = self._by_type.get(event_type)
        if anchors is None or self.deleted:
            return []
        found = [candidate.subscription_id for candidate in anchors.get(None, ())]
        for label in labels.items():
            found += [
                candidate.subscription_id
                for candidate in anchors.get(label, ())
                if all(labels.get(key) == value for key, value in candidate.labels)
            ]
        return found
