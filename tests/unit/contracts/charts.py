"""The Helm chart as it was rendered: ops/kubernetes/rendered, by name of the file of values."""

from collections.abc import Iterator
from typing import Any

import yaml

from tests.unit.contracts.repository import ROOT

FOLDER = ROOT / "ops/kubernetes"
NAMES = sorted(path.stem for path in (FOLDER / "rendered").glob("*.yaml"))
# What a secret could be, so that a process' settings can be read.
SAMPLES = {
    "HOOKLINE_DATABASE_WRITE_URL": "postgresql://db/hookline",
    "HOOKLINE_DATABASE_READ_URLS": "postgresql://replica/hookline",
    "HOOKLINE_SEALING_KEYS": "first:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "HOOKLINE_GATEWAY_MASTER_API_KEY": "7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a11",
    "HOOKLINE_KAFKA_PASSWORD": "sesame",
}


def read_resources(name: str) -> list[dict[str, Any]]:
    """Everything that a file of values renders to."""
    return [found for found in yaml.safe_load_all((FOLDER / f"rendered/{name}.yaml").read_text()) if found]


def find(resources: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind, by name without the release's."""
    return {
        found["metadata"]["name"].removeprefix("hookline").removeprefix("-"): found
        for found in resources
        if found["kind"] == kind
    }


def list_pods(resources: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of every pod: of Deployments, Jobs, and the test."""
    for kind in ("Deployment", "Job"):
        for name, found in find(resources, kind).items():
            yield name, found["spec"]["template"]["spec"]
    for name, found in find(resources, "Pod").items():
        yield name, found["spec"]


def read_environment(pod: dict[str, Any]) -> dict[str, str]:
    """The environment of its container, with samples for secrets."""
    (container,) = pod["containers"]
    return {entry["name"]: entry.get("value") or SAMPLES[entry["name"]] for entry in container["env"]}


def list_secrets(pod: dict[str, Any]) -> set[str]:
    """The variables that come out of Secrets."""
    (container,) = pod["containers"]
    return {entry["name"] for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})}
