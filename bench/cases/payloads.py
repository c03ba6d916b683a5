"""Payloads of events: JSON objects of one size, those of a file, or generated ones with the sizes of real webhooks."""

import random
from itertools import pairwise
from pathlib import Path

import msgspec

from bench.instruments.stamp import STAMP_CHARS

# Bytes of real GitHub webhooks: share of them → what they do not exceed; sizes in between lie on the line.
REAL_SIZES_BYTES = (
    (0.0, 915),
    (0.1, 2944),
    (0.15, 5900),
    (0.5, 7690),
    (0.75, 11_622),
    (0.9, 23_570),
    (1.0, 26_328),
)
GENERATED_COUNT = 264
WORDS = ("branch", "commit", "event", "issue", "label", "merge", "node", "open", "patch", "review", "tag", "user")
STAMP_BYTES = len(f'"bench":"",{"x" * STAMP_CHARS}')  # what the mark adds, so that sizes come out as asked for


class PayloadRow(msgspec.Struct):
    """A line of a file of payloads."""

    payload: str


def read_payloads(path: Path) -> list[str]:
    """The payloads of a file of JSON lines, each with a member `payload`. Raises OSError or msgspec's errors."""
    decode = msgspec.json.Decoder(PayloadRow).decode
    return [decode(line).payload for line in path.read_bytes().splitlines()]


def generate_payloads(count: int = GENERATED_COUNT) -> list[str]:
    """Deterministic payloads whose sizes are spread as those of real webhooks, in a mixed order."""
    dice = random.Random(count)  # noqa: S311 - guards nothing
    sizes = [size_at(number / max(count - 1, 1)) for number in range(count)]
    dice.shuffle(sizes)
    return [generate_payload(size_bytes, seed=number) for number, size_bytes in enumerate(sizes)]


def generate_payload(size_bytes: int, *, seed: int = 0) -> str:
    """One JSON object that has this size with its mark: names, numbers and addresses, as webhooks have them."""
    dice = random.Random(seed)  # noqa: S311 - guards nothing
    rows: list[str] = []
    left = size_bytes - STAMP_BYTES - len('{"data":[],"text":""}')
    while left > 120:
        identity, word = dice.randrange(10**9), dice.choice(WORDS)
        rows.append(f'{{"id":{identity},"name":"{word}","url":"https://api.example.com/{word}/{identity}"}}')
        left -= len(rows[-1]) + 1
    left += bool(rows)  # the last one has no comma
    text = " ".join(dice.choices(WORDS, k=max(left, 1)))[: max(left, 0)]
    return f'{{"data":[{",".join(rows)}],"text":"{text}"}}'


def size_at(share: float) -> int:
    """How large the payload is that this share of all does not exceed."""
    for (low, low_bytes), (high, high_bytes) in pairwise(REAL_SIZES_BYTES):
        if share <= high:
            return round(low_bytes + (high_bytes - low_bytes) * (share - low) / (high - low))
    raise ValueError(f"{share} is not a share")
