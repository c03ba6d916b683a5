"""Fetches Maven artifacts with their dependencies. A script: the resolver's output and caches stay in its process."""

import shutil
import sys
from pathlib import Path

import jgo


def main(target: str, *coordinates: str) -> None:
    """`maven.py TARGET GROUP:ARTIFACT:VERSION…`: put the jars into the directory TARGET."""
    environment = jgo.build("+".join(coordinates), cache_dir=Path(target) / "environment")
    for jar in Path(environment.path).rglob("*.jar"):
        shutil.copyfile(jar, Path(target) / jar.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
