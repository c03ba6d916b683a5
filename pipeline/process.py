"""What every long-running process shares: settings, logs, /health and /metrics, signals, ordered shutdown.

A process is a function `async def main(process: Process) -> None` that returns when `process.stopping` is set and its
work is put away. An exception it lets out is logged and ends the process with a non-zero code: offsets that were not
committed are read again by whoever takes over.
"""

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from pipeline.config import Settings
from pipeline.core.service_links import list_service_links
from pipeline.metrics import Metrics

# Python looks for cycles every 700 new objects, which thousands of records in flight are all the time (3 % of CPU).
GC_THRESHOLD = 10_000
# A consumer's thread wants the interpreter while the loop is busy, and gets it after so long. Python's 5 ms begin anew
# whenever the loop lets go of it for a moment, which is more often: new records waited behind thousands that
# came back (with 100,000 parked, p99 of the others 23.2 ms; with this, and pieces for the loop, 15.6).
SWITCH_INTERVAL_S = 0.0003

Check = Callable[[], str | None]
Main = Callable[["Process"], Awaitable[None]]


class StartError(Exception):
    """The process cannot start as configured. The message says what is wrong and what to do; no traceback is shown."""


@dataclass(slots=True)
class Health:
    """Named checks; each answers None when all is well, or one sentence about what is not."""

    ready: dict[str, Check] = field(default_factory=dict)  # may it be given work?
    alive: dict[str, Check] = field(default_factory=dict)  # does it still make progress? if not: restart it
    degraded: dict[str, Check] = field(default_factory=dict)  # it takes work all the same: said, and no reason for 503

    def problems(self, checks: dict[str, Check]) -> dict[str, str]:
        """The checks that are not well."""
        return {name: problem for name, check in checks.items() if (problem := check()) is not None}


@dataclass(slots=True, kw_only=True)
class Process:
    """Handed to a process' main function."""

    name: str
    settings: Settings
    metrics: Metrics
    log: structlog.stdlib.BoundLogger
    health: Health = field(default_factory=Health)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: dict[str, str] = field(default_factory=dict)
    started_at_s: float = field(default_factory=time.monotonic)
    is_announced: bool = False

    def list_unready(self) -> dict[str, str]:
        """Why it should not be given work at this moment; empty when it may. A balancer asks, and goes by it."""
        problems = self.health.problems(self.health.ready)
        if self.stopping.is_set():
            problems["process"] = "it is stopping"
        elif not self.is_announced:
            problems["process"] = "it is starting"
        return problems

    def announce_ready(self, **addresses: str) -> None:
        """Say where this process can be reached; called once, when it takes work."""
        self.addresses.update(addresses)
        self.is_announced = True
        self.log.info("ready", **self.addresses)
        # what is here now stays: no need to look through it ever again
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        run_dir = self.settings.process.run_dir
        if run_dir is not None:
            # written aside and renamed, so that a reader never sees half a file
            path = run_dir / f"{self.name}.{os.getpid()}.json"
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps({"pid": os.getpid(), "name": self.name, **self.addresses}))
            partial.rename(path)


def run(name: str, settings: Settings, main: Main) -> int:
    """Run `main` until it ends or a signal arrives; the exit code."""
    configure_logs(settings.process.log_level, settings.process.log_format)
    log: structlog.stdlib.BoundLogger = structlog.get_logger(process=name, pid=os.getpid())
    if links := list_service_links(os.environ):
        log.warning("service_links_ignored", variables=links, hint="Kubernetes: enableServiceLinks: false avoids them")
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        return _run_loop(_supervise(name, settings, main, log))
    except StartError as error:
        log.error("cannot_start", reason=str(error))
        return 2
    except Exception:
        log.exception("crashed")
        return 1


def _raise_file_limit() -> None:
    """Every connection is a file; the usual soft limit of 1,024 is less than what one process may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_loop(work: "Awaitable[int]") -> int:
    async def body() -> int:
        return await work

    if sys.platform == "win32":
        return asyncio.run(body())
    import uvloop

    return uvloop.run(body())


async def _supervise(name: str, settings: Settings, main: Main, log: structlog.stdlib.BoundLogger) -> int:
    process = Process(name=name, settings=settings, metrics=Metrics(name), log=log)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stop, process, signal.Signals(number).name)
    if settings.process.parent_watch_fd is not None:
        _watch_parent(process, settings.process.parent_watch_fd)
    runner = await _serve_operations(process)
    try:
        await main(process)
        log.info("stopped")
        return 0
    finally:
        await runner.cleanup()


def _stop(process: Process, reason: str) -> None:
    if process.stopping.is_set():
        process.log.warning("stopping_at_once", reason=f"{reason} a second time")
        os._exit(130)
    process.log.info("stopping", reason=reason)
    process.stopping.set()


def _watch_parent(process: Process, fd: int) -> None:
    """Stop when the parent is gone, even by kill -9: its end of this pipe closes then."""

    def on_readable() -> None:
        if not os.read(fd, 1024):
            asyncio.get_running_loop().remove_reader(fd)
            if not process.stopping.is_set():
                _stop(process, "the parent process is gone")

    asyncio.get_running_loop().add_reader(fd, on_readable)


async def _serve_operations(process: Process) -> web.AppRunner:
    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=process.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def show_health(_: web.Request) -> web.Response:
        health = process.health
        ready, alive = process.list_unready(), health.problems(health.alive)
        degraded = health.problems(health.degraded)
        body = {
            "process": process.name,
            "status": "failing" if ready or alive else "degraded" if degraded else "ok",
            "ready": not ready,
            "alive": not alive,
            "problems": ready | alive | degraded,
            "uptime_s": round(time.monotonic() - process.started_at_s, 1),
        }
        return web.json_response(body, status=503 if ready or alive else 200)

    async def show_readiness(_: web.Request) -> web.Response:
        problems = process.list_unready()
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def show_liveness(_: web.Request) -> web.Response:
        problems = process.health.problems(process.health.alive)
        return web.json_response({"alive": not problems, "problems": problems}, status=503 if problems else 200)

    app = web.Application()
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/health", show_health)
    app.router.add_get("/health/ready", show_readiness)
    app.router.add_get("/health/live", show_liveness)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    config = process.settings.process
    site = web.TCPSite(runner, config.metrics_host, config.metrics_port)
    try:
        await site.start()
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {config.metrics_host}:{config.metrics_port}: {error.strerror}; "
            "choose another HOOKLINE_PROCESS_METRICS_PORT, or 0 for any free one"
        ) from error
    process.addresses["metrics"] = f"http://{config.metrics_host}:{runner.addresses[0][1]}/metrics"
    return runner


def configure_logs(level: str, form: str) -> None:
    """Logs go to stderr: one line each, an action word first, then key=value; or JSON."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # plain tracebacks: the default shows every frame's variables, payloads and secrets among them
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info if as_json else structlog.dev.set_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
