"""Prints a digest of the chart and its values. Rendered files carry it: a test sees whether they are of this chart."""

import hashlib
from pathlib import Path

HERE = Path(__file__).resolve().parent


def compute_digest() -> str:
    """Sum up every file that the chart is rendered from, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in ("hookline", "values") for path in (HERE / folder).rglob("*")):
        # links lead to Prometheus' rules, which are rendered and compared by themselves
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(HERE)} {content}\n".encode())
    return digest.hexdigest()[:32]


if __name__ == "__main__":
    print(compute_digest())  # noqa: T201 - this is what it is for
