"""The gateway's routes as its metrics name them."""

from pipeline.gateway.server import API_PATH, MODULES


def list_route_labels() -> set[str]:
    """Values of the label `route`."""
    return {API_PATH + route.path for module in MODULES for route in module.list_routes()}
