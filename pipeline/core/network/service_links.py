"""Variables that Kubernetes sets in every container for every service of its namespace.

A service `hookline-gateway` brings `HOOKLINE_GATEWAY_PORT=tcp://10.0.0.1:80` and six more: names like those of our
settings, and one of them is. Both name and value tell them apart.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address

PREFIX = "HOOKLINE_"
URL = re.compile(r"(tcp|udp|sctp)://(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}")
PROTOCOL = re.compile(r"tcp|udp|sctp")
NUMBER = re.compile(r"[0-9]{1,5}")
# longest endings first: the first one that fits says what the value must be
FORMS = (
    (re.compile(r"_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO"), PROTOCOL),
    (re.compile(r"_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT"), NUMBER),
    (re.compile(r"_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR"), None),
    (re.compile(r"_PORT_[0-9]+_(TCP|UDP|SCTP)"), URL),
    (re.compile(r"_SERVICE_HOST"), None),
    (re.compile(r"_SERVICE_PORT(_[A-Z0-9_]+)?"), NUMBER),
    (re.compile(r"_PORT"), URL),
)
SERVICE = re.compile(r"HOOKLINE(_[A-Z0-9_]+?)?")


def is_service_link(variable: str, value: str) -> bool:
    """Is this one of them, by name and by value?"""
    for ending, form in FORMS:
        if re.fullmatch(f"(?:{SERVICE.pattern})(?:{ending.pattern})", variable):
            return _is_address(value) if form is None else form.fullmatch(value) is not None
    return False


def list_service_links(environ: Mapping[str, str]) -> list[str]:
    """List the names of services, sorted."""
    return sorted(name for name, value in environ.items() if name.startswith(PREFIX) and is_service_link(name, value))


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True
