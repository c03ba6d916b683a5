"""Programs from Debian's packages, unpacked into the cache and not installed. Needs apt-get and dpkg.

For tests in `tests/chaos`, which may need more than Python and make.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hookline" / "debian"
LIBRARIES = Path("usr/lib") / f"{os.uname().machine}-linux-gnu"


def find_program(name: str, *, package: str, libraries: Sequence[str] = ()) -> tuple[str, dict[str, str]]:
    """The program, and what must be in its environment: the one on the PATH, else that of `package`.

    `libraries`: packages of libraries it needs besides those that every system has. Raises when they cannot be had.
    """
    installed = shutil.which(name)
    if installed is not None:
        return installed, {}
    root = CACHE / package
    if not root.exists():
        _unpack([package, *libraries], root)
    (program,) = [path for path in root.glob(f"usr/*bin/{name}") if os.access(path, os.X_OK)]
    return str(program), {"LD_LIBRARY_PATH": str(root / LIBRARIES)}


def _unpack(packages: Sequence[str], root: Path) -> None:
    made = root.with_name(f"{root.name}.{os.getpid()}")
    made.mkdir(parents=True)
    for package in packages:
        download = ["apt-get", "download", package]
        if subprocess.run(download, cwd=made, check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "update"], check=True, capture_output=True)
            subprocess.run(download, cwd=made, check=True, capture_output=True)
    for file in made.glob("*.deb"):
        subprocess.run(["dpkg", "-x", file, made], check=True, capture_output=True)
        file.unlink()
    made.rename(root)
