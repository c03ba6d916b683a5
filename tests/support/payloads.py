"""Event payloads as the world sends them: real GitHub webhooks where they lie beside the checkout, or their like."""

import json
import random
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from bench.cases.payloads import GENERATED_COUNT, REAL_SIZES_BYTES

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "github-webhooks.jsonl"
SOURCE = (
    f"real GitHub webhooks (../shared/data/{FILE.name})"
    if FILE.exists()
    else f"generated, with the sizes of real GitHub webhooks (there is no ../shared/data/{FILE.name})"
)

NAMES = ("issues", "pull_request", "push", "check_run", "release", "deployment", "discussion", "member", "star", "fork")
ACTIONS = ("created", "edited", "deleted", "completed", "opened", "closed", "reopened")
WORDS = (
    "branch",
    "commit",
    "event",
    "fix",
    "hook",
    "issue",
    "label",
    "merge",
    "node",
    "open",
    "patch",
    "review",
    "tag",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One event's content. `event_type`: three parts, `github.issues.opened`; `payload`: JSON text.

    One real type has a dash, `github.repository_dispatch.on-demand-test`: the API takes it, Hook0's clients do not.
    """

    event_type: str
    payload: str


def real_payloads() -> list[Payload]:
    """All payloads, in the same order at every call; `SOURCE` says where they are from."""
    return list(_read(FILE) if FILE.exists() else _generate_once())


def generate_payloads(count: int = GENERATED_COUNT) -> list[Payload]:
    """Deterministic payloads whose sizes are spread as the real ones' are, in a mixed order."""
    dice = random.Random(count)
    sizes = [_size_at(number / max(count - 1, 1)) for number in range(count)]
    dice.shuffle(sizes)
    return [_generate(dice, number, size_bytes) for number, size_bytes in enumerate(sizes)]


@cache
def _generate_once() -> tuple[Payload, ...]:
    return tuple(generate_payloads())


@cache
def _read(path: Path) -> tuple[Payload, ...]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(Payload(event_type=row["event_type"], payload=row["payload"]) for row in rows)


def _size_at(share: float) -> int:
    for (low, low_bytes), (high, high_bytes) in pairwise(REAL_SIZES_BYTES):
        if share <= high:
            return round(low_bytes + (high_bytes - low_bytes) * (share - low) / (high - low))
    raise ValueError(f"{share} is not a share")


def _generate(dice: random.Random, number: int, size_bytes: int) -> Payload:
    name, action = dice.choice(NAMES), dice.choice(ACTIONS)
    links: list[dict[str, object]] = []
    linked_bytes = 0
    while linked_bytes < size_bytes * 0.7:
        identity, word = dice.randrange(10**9), dice.choice(WORDS)
        url = f"https://api.example.com/repos/octo/{word}/{name}/{identity}"
        links.append({"id": identity, "name": word, "url": url})
        linked_bytes += len(_to_json(links[-1])) + 1
    content = {"action": action, "number": number, "links": links, "text": ""}
    # the rest is prose, cut so that the size comes out to the byte
    rest = size_bytes - len(_to_json(content))
    content["text"] = " ".join(dice.choices(WORDS, k=rest))[:rest]
    return Payload(event_type=f"github.{name}.{action}", payload=_to_json(content))


def _to_json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))
