"""What each of our processes below `hookline up` is started with: settings, ports, options."""

import os
import sys
from collections.abc import Mapping, Sequence

from pipeline.commands.up.child import Child, ShowLine
from pipeline.commands.up.data_directory import DataDirectory
from pipeline.commands.up.free_ports import FreePorts
from pipeline.commands.up.options import LISTEN
from pipeline.embedded.ports import LOOPBACK


def build_environ(
    given: Mapping[str, str], ours: Mapping[str, str], *, data: DataDirectory, watched_fd: int
) -> dict[str, str]:
    """The environment of our processes: what the user set, and above that what only we can know."""
    defaults = {
        # one JSON object a line: a traceback is one, too, and we can read why a process refuses to start
        "HOOKLINE_PROCESS_LOG_FORMAT": "json",
        # endpoints on this machine are what one tries it with
        "HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "true",
        # one gateway, on a server that is ours alone
        "HOOKLINE_DATABASE_POOL_MIN_SIZE": "1",
        # no balancer in front: a stop does not wait for one
        "HOOKLINE_GATEWAY_DRAIN_S": "0",
    }
    surroundings = {
        "HOOKLINE_PROCESS_PARENT_WATCH_FD": str(watched_fd),
        "HOOKLINE_PROCESS_RUN_DIR": str(data.run),
        # the modules that we run, whatever else is called `pipeline` in the directory we were started in
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return defaults | dict(given) | dict(ours) | surroundings


class Children:
    """Makes them. Their ports are chosen here, so that one that is started again keeps its addresses."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        data: DataDirectory,
        ports: FreePorts,
        gateway_port: int,
        receiver_port: int,
        inherited: Sequence[int],
        show_line: ShowLine | None,
    ) -> None:
        self._environ = environ
        self._data = data
        self._ports = ports
        self._gateway_port = gateway_port
        self._receiver_port = receiver_port
        self._inherited = inherited
        self._show_line = show_line

    def make(self, name: str, number: int) -> Child:
        """The n-th process of a name, not started yet."""
        own = {"HOOKLINE_PROCESS_METRICS_PORT": str(self._ports.take(f"metrics of {name}.{number}"))}
        if name == "gateway":
            port = self._gateway_port if number == 1 else self._ports.take(f"{name}.{number}")
            own["HOOKLINE_GATEWAY_PORT"] = str(port)
        return Child(
            name,
            number,
            arguments=self._list_listen_arguments() if name == LISTEN else (),
            environ={**self._environ, **own},
            run_dir=self._data.run,
            log_dir=self._data.logs,
            inherited=self._inherited,
            show_line=self._show_line if name == LISTEN else None,
        )

    def _list_listen_arguments(self) -> tuple[str, ...]:
        secret_file = self._data.receiver_secret_file
        secret_file.touch(mode=0o600)  # filled when the demo is there, and read again then
        return ("--host", LOOPBACK, "--port", str(self._receiver_port), "--secret-file", str(secret_file))
