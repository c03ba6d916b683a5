"""Secrets that verify signatures: those given as options, and those in a file, which may change meanwhile."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.signing.verification import parse_secret
from pipeline.start_error import StartError


class Keys:
    """The secrets to verify with. Raises `StartError` when one is malformed or the file cannot be read."""

    __slots__ = ("_file", "_from_file", "_given", "_lent", "_seen")

    def __init__(self, secrets: Sequence[str], file: Path | None) -> None:
        self._given = _parse(secrets)
        self._lent: tuple[bytes, ...] = ()
        self._file = file
        self._from_file: tuple[bytes, ...] = ()
        self._seen: tuple[int, int] | None = None  # modification time and inode of the file that was read
        if file is not None:
            self._reload(file)

    def current(self) -> tuple[bytes, ...]:
        """The keys now: a secret that was rotated counts from the next delivery on."""
        if self._file is not None:
            with contextlib.suppress(StartError):  # what could be read last is better than nothing
                self._reload(self._file)
        return self._given + self._from_file + self._lent

    def lend(self, secrets: Sequence[str]) -> None:
        """Verify with these as well, instead of those that were lent before."""
        self._lent = _parse(secrets)

    def _reload(self, file: Path) -> None:
        try:
            status = file.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            words = file.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StartError(f"cannot read the secret from {file}: {reason}") from error
        self._from_file, self._seen = _parse(words), seen


def _parse(words: Sequence[str]) -> tuple[bytes, ...]:
    try:
        return tuple(parse_secret(word) for word in words)
    except ValueError as error:
        raise StartError(str(error)) from error
