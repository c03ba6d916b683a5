"""The frame of every long-running process: settings, logs, /health and /metrics, signals, ordered shutdown.

A process is a function `async def main(process: Process) -> None` that returns when `process.stopping` is set and its
work is finished. An exception it lets out is logged and ends the process with a non-zero code: the partitions' next
owner reads again from the last commit.
"""

import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from pipeline.config import Settings
from pipeline.core.events.records import RecordVersionError, write_as
from pipeline.core.network.service_links import list_service_links
from pipeline.ending import Ending
from pipeline.host_clock import watch_host_clock
from pipeline.logs import configure_logs
from pipeline.metrics import Metrics
from pipeline.metrics_page import MetricsPage
from pipeline.start_error import StartError
from pipeline.supervisor import Supervisor, cancel_leftovers, run_together
from pipeline.topics import declare_topics_for

if TYPE_CHECKING:
    from pipeline.tracing import Tracing

# Python looks for cycles every 700 new objects, which thousands of records in flight are all the time (3 % of CPU).
GC_THRESHOLD = 10_000
# A consumer's thread wants the interpreter while the loop is busy, and gets it after so long. Python's 5 ms begin anew
# whenever the loop lets go of it for a moment, which is more often: new records waited behind thousands that
# came back (with 100,000 parked, p99 of the others 23.2 ms; with this, and pieces for the loop, 15.6).
SWITCH_INTERVAL_S = 0.0003
# Once `main` has ended there is nothing left to wait for but what hangs.
END_WITHIN_S = 3.5
LEFTOVERS_S = 1.5
# of a request to /health or /metrics that is being answered at the end
OPERATIONS_GRACE_S = 1.0
# An orderly stop may take the workers' grace and this, to commit and to leave the group.
STOP_SLACK_S = 8.0

Check = Callable[[], str | None]
Main = Callable[["Process"], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Health:
    """Named checks; each answers None when all is well, or one sentence about what is not."""

    ready: dict[str, Check] = field(default_factory=dict)  # may it be given work?
    alive: dict[str, Check] = field(default_factory=dict)  # does it still make progress? if not: restart it
    degraded: dict[str, Check] = field(default_factory=dict)  # it takes work all the same: said, and no reason for 503

    def problems(self, checks: dict[str, Check]) -> dict[str, str]:
        """The checks that are not well."""
        return {name: problem for name, check in checks.items() if (problem := check()) is not None}

    def count_problems(self) -> dict[str, int]:
        """Each check, whichever it is, with 1 if it is not well; else 0."""
        counts: dict[str, int] = {}
        for checks in (self.ready, self.alive, self.degraded):
            for name, check in checks.items():
                counts[name] = max(counts.get(name, 0), check() is not None)
        return counts


@dataclass(slots=True, kw_only=True)
class Process:
    """Handed to a process' main function."""

    name: str
    settings: Settings
    metrics: Metrics
    log: structlog.stdlib.BoundLogger
    health: Health = field(default_factory=Health)
    supervisor: Supervisor = field(default_factory=Supervisor)
    resources: contextlib.AsyncExitStack = field(
        default_factory=contextlib.AsyncExitStack
    )  # closed when main has ended
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: dict[str, str] = field(default_factory=dict)
    started_at_s: float = field(default_factory=time.monotonic)
    is_announced: bool = False
    tracing: "Tracing | None" = None

    def list_unready(self) -> dict[str, str]:
        """List the reasons why the process should get no work now; empty if it should. Balancers ask for it."""
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
    configure_logs(settings.process.log_level, settings.process.log_format, has_traces=settings.tracing.enabled)
    log: structlog.stdlib.BoundLogger = structlog.get_logger(process=name, pid=os.getpid())
    if links := list_service_links(os.environ):
        log.warning("service_links_ignored", variables=links, hint="Kubernetes: enableServiceLinks: false avoids them")
    ending = Ending(log)
    grace_s = max(settings.worker.shutdown_grace_s, settings.gateway.drain_s)
    ending.listen(stop_timeout_s=max(settings.process.stop_timeout_s, grace_s + STOP_SLACK_S))
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return _run_loop(_supervise(name, settings, main, log, ending))


def choose_versions(settings: Settings) -> None:
    """Write records as the settings say. Raises `StartError`."""
    try:
        write_as(settings.kafka.record_versions)
    except RecordVersionError as error:
        raise StartError(f"HOOKLINE_KAFKA_RECORD_VERSIONS: {error}") from None


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


async def _supervise(
    name: str, settings: Settings, main: Main, log: structlog.stdlib.BoundLogger, ending: Ending
) -> int:
    """Run `main` to its end; the exit code. The reason is logged before anything is closed that might hang."""

    def end_soon(code: int, why: str = "what was still running did not end") -> None:
        """End soon, whatever hangs from here on; called before anything else, the log's line included."""
        ending.expect_end(END_WITHIN_S, code=code, why=why)

    supervisor = Supervisor(
        fail_at=settings.process.fail_at, on_failure=lambda: end_soon(1, "the process failed and did not end")
    )
    topics = [topic.name for topic in declare_topics_for(settings.kafka).all()]
    metrics = Metrics(name, namespace=settings.metrics.namespace, topics=topics)
    process = Process(name=name, settings=settings, metrics=metrics, log=log, supervisor=supervisor)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(process.supervisor.hear_loop)
    runner: web.AppRunner | None = None
    supervisor.start("host_clock", watch_host_clock())
    try:
        choose_versions(settings)
        if settings.tracing.enabled:
            process.tracing = _start_tracing(process)
        runner = await _serve_operations(process)
        await _run_main(process, main, ending)
        end_soon(code := 0)
        log.info("stopped")
    except StartError as error:
        end_soon(code := 2)
        log.error("cannot_start", reason=str(error))
    except (Exception, asyncio.CancelledError):
        end_soon(code := 1)
        log.exception("crashed")
    if runner is not None:
        await runner.cleanup()
    try:
        await process.supervisor.stop()
        await process.resources.aclose()
    except Exception:
        log.exception("not_closed")
    left = await cancel_leftovers(within_s=LEFTOVERS_S)
    if left:
        log.warning("tasks_left", tasks=left)
    return code


async def _run_main(process: Process, main: Main, ending: Ending) -> None:
    """Run `main` until it ends or background work fails. Raises the failure that came first."""
    abandoned = asyncio.Event()

    def stop(reason: str) -> None:
        process.log.info("stopping", reason=reason)
        process.stopping.set()
        if not process.is_announced:
            abandoned.set()  # nothing was accepted yet that would have to be finished

    ending.attach(asyncio.get_running_loop(), stop)
    if process.settings.process.parent_watch_fd is not None:
        ending.watch_parent(process.settings.process.parent_watch_fd)
    await run_together(abandoned, main=_begin(process, main), failure=process.supervisor.failure())


async def _begin(process: Process, main: Main) -> None:
    start_fd = process.settings.process.start_fd
    if start_fd is not None:
        await _wait_closed(start_fd)
    await main(process)


async def _wait_closed(fd: int) -> None:
    """Wait until the other end of a pipe that nothing is written to is closed."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, closed.set)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(fd)


async def _serve_operations(process: Process) -> web.AppRunner:
    page = MetricsPage(process.metrics.registry)
    process.resources.callback(page.close)

    async def show_metrics(_: web.Request) -> web.Response:
        for check, problems in process.health.count_problems().items():
            process.metrics.health_problem.labels(check).set(problems)
        return web.Response(body=await page.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

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
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=OPERATIONS_GRACE_S)
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


def _start_tracing(process: Process) -> "Tracing":
    try:
        from pipeline.tracing import start_tracing
    except ImportError as error:
        raise StartError(
            f"HOOKLINE_TRACING_ENABLED is true, and OpenTelemetry is not installed ({error}): "
            "`pip install hookline[tracing]`"
        ) from error
    tracing = start_tracing(process.name, to_receivers=process.settings.tracing.to_receivers)
    process.resources.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing
