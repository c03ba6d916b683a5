"""What `hookline listen` was asked for."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """`secrets` and `secret_file`: what signatures are verified with, none: they are not.

    `status`: the answer to everything.
    """

    host: str
    port: int
    secrets: tuple[str, ...] = ()
    secret_file: Path | None = None
    status: int = 200
    shows_body: bool = False
    is_json: bool = False
