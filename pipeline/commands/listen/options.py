"""The options of `hookline listen`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.commands.up.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """`secrets` and `secret_file`: what signatures are verified with, none: they are not.

    `source`: of the `hookline up` whose demo's subscriptions verify. `status`: the answer to everything, unless it is
    passed on to `forward_to`, whose answer it then is.
    """

    host: str
    port: int
    secrets: tuple[str, ...] = ()
    secret_file: Path | None = None
    status: int = 200
    forward_to: str | None = None
    shows_body: bool = False
    is_json: bool = False
    source: "Report | None" = None
