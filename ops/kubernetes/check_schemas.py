"""Checks rendered charts against the strict schemas of several Kubernetes releases: `check_schemas.py FILE…`.

Run by `make kubernetes` in an environment of its own, which has kubernetes-validate and nothing of ours.
"""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

# the oldest that the chart takes, one between, and the newest that there is
RELEASES = ("1.29", "1.33", "1.37")
# defined by operators, not by Kubernetes
FOREIGN = ("keda.sh/", "monitoring.coreos.com/")


def main() -> int:
    """The exit code: 1 when something is wrong."""
    checked, problems = 0, []
    for name in sys.argv[1:]:
        for resource in filter(None, yaml.safe_load_all(Path(name).read_text())):
            if resource["apiVersion"].startswith(FOREIGN):
                continue
            checked += 1
            for release in RELEASES:
                try:
                    kubernetes_validate.validate(resource, release, strict=True)
                except kubernetes_validate.ValidationError as error:
                    what = f"{resource['kind']} {resource['metadata']['name']}"
                    problems.append(f"{name}: {what} in {release}: {error.message}")
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    sys.stdout.write(f"{checked} resources against the schemas of {', '.join(RELEASES)}, {len(problems)} problems\n")
    return 1 if problems or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
