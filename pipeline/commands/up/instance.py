"""All that `hookline up` runs: the order in which it starts and stops."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.commands.installation.finding import DATABASE_VARIABLE, KAFKA_VARIABLE, select_settings
from pipeline.commands.installation.running import add_entry, publish_running, remove_entry
from pipeline.commands.up.children import LISTEN, Child, Children, ShowLine, add_defaults, build_environ
from pipeline.commands.up.data_directory import DataDirectory
from pipeline.commands.up.demo import Demo, provide_demo
from pipeline.commands.up.keeper import Keeper, Kept, Say
from pipeline.commands.up.keys import provide_keys
from pipeline.commands.up.report import Report, remove_report, write_report
from pipeline.commands.up.services import (
    KAFKA,
    POSTGRES,
    PostgresPlan,
    Service,
    plan_kafka,
    prepare_kafka,
    prepare_postgres,
)
from pipeline.config import Settings
from pipeline.core.process_kinds import PROCESS_KINDS
from pipeline.embedded.data_dir import write_private
from pipeline.embedded.ports import LOOPBACK, FreePorts
from pipeline.embedded.progress import Progress
from pipeline.supervisor import first_failure

STOP_ORDER = (*PROCESS_KINDS, LISTEN, POSTGRES, KAFKA)
# Longer than a process takes by itself (HOOKLINE_WORKER_SHUTDOWN_GRACE_S) when requests hang.
STOP_MARGIN_S = 5.0
MASTER_KEY_VARIABLE = "HOOKLINE_GATEWAY_MASTER_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """`port` None: one is chosen. `counts`: how many processes of each of `PROCESS_KINDS`."""

    data_dir: Path
    profile: str
    is_listed: bool
    port: int | None
    is_json: bool
    has_demo: bool
    counts: Mapping[str, int]


class Instance:
    """`start` once, then `stop`, also when the start failed or was cancelled."""

    def __init__(
        self,
        options: UpOptions,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        data: DataDirectory,
        ports: FreePorts,
        gateway_port: int,
        progress: Progress,
        say: Say,
        show_line: ShowLine | None,
    ) -> None:
        self._options = options
        self._settings = settings
        self._given = environ
        self._data = data
        self._ports = ports
        self._gateway_port = gateway_port
        self._progress = progress
        self._say = say
        self._show_line = show_line
        self._keepers: list[Keeper] = []
        # Our processes hold the other end, and stop when this one closes: even a kill -9 of us closes it.
        self._watched_fd, self._watch_fd = os.pipe()
        self._awaited_fd, start_fd = os.pipe()
        self._start_fd: int | None = start_fd

    async def start(self) -> Report:
        """Start everything; returns where it is. Raises `StartError` or `EmbeddedError`."""
        keys = provide_keys(self._settings, self._data)
        self._data.mark()
        ports, given, settings, data = self._ports, self._given, self._settings, self._data
        kafka, bootstrap_servers = plan_kafka(given, settings, data, ports, self._progress)
        postgres = PostgresPlan(given, settings, data, ports, self._progress)
        receiver_port = self._ports.take("hookline listen") if self._options.has_demo else 0
        children: list[tuple[Child, Keeper]] = []
        handed: dict[str, str] = {}

        async def prepare_children() -> None:
            await self._start_postgres(postgres)
            ours = {**keys, KAFKA_VARIABLE: bootstrap_servers, DATABASE_VARIABLE: postgres.url}
            handed.update(select_settings(add_defaults(given, ours)))
            # they import while Kafka starts, and begin when `_start_fd` closes
            children.extend(await self._start_children(ours, receiver_port))

        await all_of(self._start_kafka(kafka, bootstrap_servers), prepare_children())
        self._progress("starting the gateway, the matcher, deliver and archive ...")
        self._let_begin()
        announced: dict[str, dict[str, str]] = {}
        demo = Demo()

        async def wait_for(child: Child, keeper: Keeper) -> None:
            nonlocal demo
            found = announced[_name_process(child)] = await keeper.wait_announced(child.read_announcement)
            if _name_process(child) == "gateway" and self._options.has_demo:
                demo = await self._provide_demo(found["api"], keys[MASTER_KEY_VARIABLE], receiver_port)

        await all_of(*(wait_for(*each) for each in children))
        report = Report(
            api=announced["gateway"]["api"],
            organization_id=demo.organization_id,
            application_id=demo.application_id,
            application_secret=demo.application_secret,
            subscription_id=demo.subscription_id,
            subscription_secret=demo.subscription_secret,
            receiver=demo.receiver,
            master_api_key=keys[MASTER_KEY_VARIABLE],
            kafka=bootstrap_servers,
            database_url=postgres.url,
            metrics={name: announced[name]["metrics"] for name in sorted(announced)},
            pids=self._list_pids(),
            profile=self._options.profile,
            data_dir=str(self._data.root),
        )
        self._publish(report, handed)
        return report

    async def watch(self) -> None:
        """Watch until cancelled; raises when keeping one of them failed unexpectedly."""
        await asyncio.gather(*(keeper.keeping for keeper in self._keepers))

    async def stop(self) -> None:
        """Stop everything in order. What does not stop in time is killed."""
        remove_report(self._data.root)
        remove_entry(self._given, self._data.root)
        timeout_s = self._settings.worker.shutdown_grace_s + self._settings.gateway.drain_s + STOP_MARGIN_S
        for name in STOP_ORDER:
            await asyncio.gather(*(keeper.stop(timeout_s) for keeper in self._keepers if keeper.kept.name == name))
        self._keepers.clear()
        self._let_begin()
        for fd in (self._watch_fd, self._watched_fd, self._awaited_fd):
            os.close(fd)

    def kill(self) -> None:
        """SIGKILL to our processes, without waiting; services are stopped by their guards when we are gone."""
        for keeper in self._keepers:
            keeper.kept.kill()

    def _publish(self, report: Report, settings: Mapping[str, str]) -> None:
        """Let commands find this installation. The report is last: who sees it finds the rest."""
        root = self._data.root
        publish_running(root, settings)
        if self._options.is_listed:
            try:
                add_entry(self._given, root, report.profile)
            except OSError as error:
                self._say(f"commands find this one in its directory and by --data-dir alone: {error}")
        write_report(root, report)

    async def _start_kafka(self, service: Service | None, bootstrap_servers: str) -> None:
        if service is not None:
            await self._start_kept(service)
        self._progress("creating topics ...")
        await prepare_kafka(self._settings.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers}))

    async def _start_postgres(self, plan: PostgresPlan) -> None:
        if plan.service is not None:
            await self._start_kept(plan.service)
        self._progress("preparing the database ...")
        await prepare_postgres(plan.url)

    async def _start_children(self, ours: Mapping[str, str], receiver_port: int) -> list[tuple[Child, Keeper]]:
        """Our processes, each waiting for `_let_begin`."""
        made = Children(
            build_environ(self._given, ours, data=self._data, watched_fd=self._watched_fd, start_fd=self._awaited_fd),
            data=self._data,
            ports=self._ports,
            gateway_port=self._gateway_port,
            receiver_port=receiver_port,
            inherited=(self._watched_fd, self._awaited_fd, self._data.run_lock),
            show_line=self._show_line,
        )
        names = [(name, number) for name in PROCESS_KINDS for number in range(1, self._options.counts[name] + 1)]
        if self._options.has_demo:
            names.append((LISTEN, 1))
        return [(child, await self._start_kept(child)) for child in (made.make(*name) for name in names)]

    def _let_begin(self) -> None:
        """Close the end that our processes wait for; one that is started again later need not wait."""
        if self._start_fd is not None:
            os.close(self._start_fd)
            self._start_fd = None

    async def _start_kept(self, kept: Kept) -> Keeper:
        keeper = Keeper(kept, run_dir=self._data.run, say=self._say)
        # before it is started: a stop in the middle of that must know of it
        self._keepers.append(keeper)
        await keeper.start()
        if kept.name in (POSTGRES, KAFKA):
            keeper.settle()  # its start returns when it is ready
        return keeper

    async def _provide_demo(self, api: str, master_key: str, receiver_port: int) -> Demo:
        # imported here: Kafka and our processes start meanwhile
        from pipeline.client import Client

        async with Client(api, master_key) as client:
            receiver = f"http://{LOOPBACK}:{receiver_port}/"
            demo = await provide_demo(client, self._data.demo_file, receiver=receiver)
        write_private(self._data.receiver_secret_file, f"{demo.subscription_secret}\n")
        return demo

    def _list_pids(self) -> dict[str, list[int]]:
        pids: dict[str, list[int]] = {}
        for keeper in sorted(self._keepers, key=lambda keeper: (keeper.kept.name, keeper.kept.number)):
            pids.setdefault(keeper.kept.name, []).append(keeper.kept.pid)
        return pids


async def all_of(*work: Coroutine[Any, Any, None]) -> None:
    """Do all at the same time; the first failure cancels the rest and is raised as it is."""
    with first_failure():
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)


def _name_process(child: Child) -> str:
    return child.name if child.number == 1 else child.label
