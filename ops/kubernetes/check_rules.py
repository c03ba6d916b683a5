"""Compares a rendered PrometheusRule with ops/prometheus: `check_rules.py FILE NAMESPACE RUNBOOKS`."""

import sys
from pathlib import Path

import yaml

PROMETHEUS = Path(__file__).resolve().parents[1] / "prometheus"


def main() -> int:
    """The exit code: 1 when they differ."""
    file, namespace, runbooks = sys.argv[1:]
    resources = [found for found in yaml.safe_load_all(Path(file).read_text()) if found]
    (rendered,) = (found["spec"]["groups"] for found in resources if found["kind"] == "PrometheusRule")
    text = "".join((PROMETHEUS / name).read_text().replace("groups:", "", 1) for name in ("rules.yml", "alerts.yml"))
    text = text.replace("{{ $externalLabels.runbooks }}", runbooks).replace("hookline_", f"{namespace}_")
    written = yaml.safe_load(f"groups:\n{text}")["groups"]
    rules = sum(len(group["rules"]) for group in rendered)
    sys.stdout.write(f"{rules} rules are {'' if rendered == written else 'NOT '}those of ops/prometheus\n")
    return 0 if rendered == written else 1


if __name__ == "__main__":
    sys.exit(main())
