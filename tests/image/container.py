"""A container of the image: its file system read-only, its user, no capabilities, in namespaces of the kernel.

What a runtime would do is done by `unshare`, `mount`, `chroot` and `setpriv`: there is no Docker engine at hand. The
network is this machine's.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.support.processes import tail

ROOTS, CONFIG = "HOOKLINE_TEST_IMAGE_ROOTS", "HOOKLINE_TEST_IMAGE_CONFIG"
STOP_TIMEOUT_S = 60.0
ENTER = r"""
root=$1 user=$2 group=$3; shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"
"""


def list_roots() -> list[Path]:
    """The mounted file systems of the containers: `make image` names them."""
    assert ROOTS in os.environ, "run `make image`: it builds the image and mounts its containers"
    return [Path(each) for each in os.environ[ROOTS].split(":")]


def read_config() -> dict[str, Any]:
    """The configuration in the image, in the form of OCI."""
    config: dict[str, Any] = json.loads(Path(os.environ[CONFIG]).read_text())["OCIv1"]["config"]
    return config


class Container:
    """Runs the image's entry point with `arguments`. An async context manager: stopped by SIGTERM afterwards."""

    def __init__(self, root: Path, environ: Mapping[str, str], *arguments: str, program: Sequence[str] = ()) -> None:
        """`environ`: beside the image's own. `program`: in place of the image's entry point."""
        config = read_config()
        user, _, group = config["User"].partition(":")
        own = dict(each.split("=", 1) for each in config["Env"])
        self._environ = own | dict(environ)
        self._command = ["sh", "-ec", ENTER, "sh", str(root), user, group or user]
        # env finds the entry point on the image's PATH
        self._command += ["/usr/bin/env", "-C", config["WorkingDir"], *(program or config["Entrypoint"]), *arguments]
        self.log_path = Path(tempfile.mkdtemp(prefix="hookline-test-image-")) / "log"

    async def __aenter__(self) -> "Container":
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL"),
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
            )
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            error.add_note(tail(self.log_path, 60))
        if self.is_running:
            code = await self.stop()
            assert error is not None or code == 0, tail(self.log_path, 60)

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def inside(self) -> psutil.Process:
        """The process that is the first one in the container."""
        (child,) = psutil.Process(self._process.pid).children()
        return child

    def read_status(self) -> dict[str, str]:
        """The kernel's view of it: /proc/…/status."""
        lines = Path(f"/proc/{self.inside.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.inside.terminate()
        return await self.wait()

    async def wait(self) -> int:
        """The exit code of a container that ends by itself."""
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return await self._process.wait()

    def log(self) -> str:
        """Read all that the container has logged."""
        return self.log_path.read_text()
