"""What `hookline up` was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LISTEN = "listen"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """`port` None: one is chosen. `counts`: how many processes of each of `PROCESS_KINDS`."""

    data_dir: Path
    port: int | None
    is_json: bool
    has_demo: bool
    counts: Mapping[str, int]
