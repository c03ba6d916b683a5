"""Small files that only we may read, written so that nobody ever sees half of one."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write aside with mode 0600, then rename."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
