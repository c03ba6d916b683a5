"""The Dockerfile as instructions."""

import re
from typing import NamedTuple

from tests.unit.contracts.repository import ROOT

FILE = ROOT / "ops/docker/Dockerfile"
IGNORE_FILE = ROOT / "ops/docker/Dockerfile.dockerignore"


class Instruction(NamedTuple):
    """One of them, without its continuation lines."""

    word: str
    rest: str


def read_instructions() -> list[Instruction]:
    """All of them, in order."""
    lines = [line for line in FILE.read_text().split("\n") if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.split("\n") if line.strip()]


def list_stages() -> list[list[Instruction]]:
    """The instructions of each stage."""
    stages: list[list[Instruction]] = []
    for instruction in read_instructions():
        if instruction.word == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


def list_copied() -> list[str]:
    """List the paths that are copied from the repository."""
    return [
        source
        for word, rest in read_instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def read_environment() -> dict[str, str]:
    """Read the environment that the last stage sets."""
    pairs = [pair for word, rest in list_stages()[-1] if word == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)
