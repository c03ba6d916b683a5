"""One run of `hookline up`, from its options to its exit code."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pipeline.commands.installation.running import find_profile_dir
from pipeline.commands.outcome import INTERRUPTED
from pipeline.commands.up.banner import Surroundings, format_banner
from pipeline.commands.up.data_directory import DataDirectory, open_data_directory
from pipeline.commands.up.instance import MASTER_KEY_VARIABLE, Instance, UpOptions
from pipeline.commands.up.report import Report, format_report
from pipeline.commands.up.screen import LineLimit, Screen
from pipeline.config import ConfigError, Settings, load_settings
from pipeline.embedded.ports import FreePorts
from pipeline.supervisor import Work, run_together

PREFERRED_PORT = 8080  # for people, who like to know it by heart
GATEWAY_PORT_VARIABLE = "HOOKLINE_GATEWAY_PORT"
RELAY_INTERVAL_S = 0.25
NAME = "the gateway"
PROGRAM = "hookline"


class StoppedError(Exception):
    """Ends a start that is under way in a thread. Never let out."""


def run(options: UpOptions, environ: Mapping[str, str]) -> int:
    """The exit code. Raises `ConfigError`, `StartError` or `EmbeddedError`, with nothing left running."""
    started_at_s = time.monotonic()
    settings = load_settings(environ)
    if settings.process.metrics_port != 0:
        raise ConfigError("HOOKLINE_PROCESS_METRICS_PORT: several processes cannot share a port; unset it")
    with Screen() as screen, open_data_directory(options.data_dir, screen.step) as data:
        ports = FreePorts(data.ports_file)
        gateway_port = choose_gateway_port(options, environ, settings, ports, screen)
        session = Session(options, settings, environ, data, screen, started_at_s)
        return asyncio.run(session.run(ports, gateway_port))


def choose_gateway_port(
    options: UpOptions, environ: Mapping[str, str], settings: Settings, ports: FreePorts, screen: Screen
) -> int:
    """The one that is asked for; otherwise that of the last start; otherwise, for people, 8080; otherwise any.

    Raises `EmbeddedError`.
    """
    asked = options.port
    if asked is None and GATEWAY_PORT_VARIABLE in environ:
        asked = settings.gateway.port
    if asked:
        return ports.take(NAME, asked)
    is_for_people = asked is None and not options.is_json
    former = ports.find_former(NAME)
    chosen = ports.take(NAME, preferred=PREFERRED_PORT if is_for_people else None)
    if is_for_people and chosen not in (PREFERRED_PORT, former):
        screen.say(f"port {former or PREFERRED_PORT} is taken: the API gets {chosen} (--port chooses another one)")
    return chosen


class Session:
    """One run, from the start to the end, with the signals in between."""

    def __init__(
        self,
        options: UpOptions,
        settings: Settings,
        environ: Mapping[str, str],
        data: DataDirectory,
        screen: Screen,
        started_at_s: float,
    ) -> None:
        self._options = options
        self._settings = settings
        self._environ = environ
        self._data = data
        self._screen = screen
        self._started_at_s = started_at_s
        self._stopping = asyncio.Event()
        self._lines = LineLimit(screen.show_delivery, time.monotonic)

    async def run(self, ports: FreePorts, gateway_port: int) -> int:
        """Start, watch, stop."""
        instance = Instance(
            self._options,
            self._settings,
            self._environ,
            data=self._data,
            ports=ports,
            gateway_port=gateway_port,
            progress=self._progress,
            say=self._screen.say,
            show_line=None if self._options.is_json else self._lines.pass_on,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # `nohup hookline up`: it is meant to outlive the terminal
            asyncio.get_running_loop().add_signal_handler(number, self._ask_to_stop, instance)
        try:
            is_started = await start_and_watch(
                self._stopping,
                start=lambda: self._start(instance),
                watch=instance.watch,
                relay=self._relay_regularly,
            )
            if is_started:
                self._screen.say("stopping ...")
        finally:
            self._stopping.set()  # also when it failed: a start under way in a thread gives up
            self._screen.end_steps()
            await instance.stop()
            self._lines.finish()  # the receiver has ended: its last lines have been passed on
        return 0 if is_started else INTERRUPTED

    async def _start(self, instance: Instance) -> None:
        self._show(await instance.start())

    def _ask_to_stop(self, instance: Instance) -> None:
        if self._stopping.is_set():
            self._screen.say("stopping at once")
            instance.kill()
            os._exit(INTERRUPTED)
        self._stopping.set()

    def _progress(self, line: str) -> None:
        if self._stopping.is_set():
            raise StoppedError
        self._screen.step(line)

    def _show(self, report: Report) -> None:
        if self._options.is_json:
            self._screen.end_steps()
            self._screen.report(format_report(report))
            return
        is_given = MASTER_KEY_VARIABLE in self._environ
        place = f"as set in {MASTER_KEY_VARIABLE}" if is_given else f"in {self._data.master_key_file}"
        profile = self._options.profile
        around = Surroundings(
            data_dir=self._data.root,
            logs=self._data.logs,
            master_key=f"{place} (it may do everything)",
            seconds=time.monotonic() - self._started_at_s,
            program=find_program(sys.argv[0]),
            profile=profile if find_profile_dir(self._environ, profile) == self._data.root else None,
        )
        self._screen.show_banner(format_banner(report, around, datetime.now(UTC)))

    async def _relay_regularly(self) -> None:
        while True:
            await asyncio.sleep(RELAY_INTERVAL_S)
            self._lines.keep_time()


def find_program(started_as: str) -> str:
    """`hookline` as it is to be typed: with its path where the shell would not find it, as after `make run`."""
    is_script = Path(started_as).name == PROGRAM
    return started_as if is_script and shutil.which(PROGRAM) is None else PROGRAM


async def start_and_watch(
    stopping: asyncio.Event, *, start: Callable[[], Work], watch: Callable[[], Work], relay: Callable[[], Work]
) -> bool:
    """Start, then watch and relay until `stopping` is set. False: it was set before the start was complete.

    Raises the first failure of any of them, which ends `hookline up`.
    """
    is_started = False

    async def complete_start() -> None:
        nonlocal is_started
        await start()
        is_started = True

    with suppress(StoppedError):
        await run_together(stopping, starting=complete_start())
    if is_started:
        await run_together(stopping, watching=watch(), relaying=relay())
    return is_started
