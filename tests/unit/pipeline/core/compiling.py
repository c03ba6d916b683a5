"""Routes of one version, made in one go."""

from pipeline.core.events.records import Routes
from pipeline.core.routing.routes import AppliedRoutes, RoutesHistory


def compile_routes(routes: Routes) -> AppliedRoutes:
    history = RoutesHistory()
    for name in routes.event_types:
        history.put_type(name, routes.version)
    for each in routes.subscriptions:
        history.put_rule(
            each["subscription_id"],
            routes.version,
            enabled=each["enabled"],
            event_types=each["event_types"],
            labels=each["labels"],
        )
    return AppliedRoutes(history, routes.version, deleted=routes.deleted)
