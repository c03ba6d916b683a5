"""A real Prometheus over real processes, with the rules and alerts of ops/prometheus."""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml

from tests.support.debian import find_program
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.processes import ROOT

OPS = ROOT / "ops" / "prometheus"
SCRAPE_INTERVAL = "1s"
# Alerts wait for minutes before they fire. Their expressions stay as they are.
FOR = re.compile(r"^(\s*for:) .*$", re.MULTILINE)


class Prometheus:
    """An async context manager. `targets`: URLs of /metrics by job."""

    def __init__(self, targets: Mapping[str, Sequence[str]], *, alerts_after: str = "2s") -> None:
        self._targets = targets
        self._alerts_after = alerts_after

    async def __aenter__(self) -> "Prometheus":
        program, _ = await asyncio.to_thread(find_program, "prometheus", package="prometheus")
        port = find_free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="hookline-test-prometheus-")
        folder = Path(self._folder.name)
        await asyncio.to_thread(self._configure, folder)
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._session = aiohttp.ClientSession()
        await eventually(self._all_up, timeout_s=60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._folder.cleanup()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Answer an instant query. Raises when the expression is refused."""
        async with self._session.get(f"{self._url}/query", params={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def query_range(
        self, expression: str, first_s: float, last_s: float, *, step_s: float
    ) -> list[dict[str, Any]]:
        """Answer a query over a time: series with `metric` and `values`. Raises when the expression is refused."""
        parameters = {"query": expression, "start": str(first_s), "end": str(last_s), "step": str(step_s)}
        async with self._session.get(f"{self._url}/query_range", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def firing(self) -> dict[str, list[dict[str, str]]]:
        """The labels of the alerts that fire, by name."""
        async with self._session.get(f"{self._url}/alerts") as response:
            alerts = (await response.json())["data"]["alerts"]
        found: dict[str, list[dict[str, str]]] = {}
        for alert in alerts:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    def _configure(self, folder: Path) -> None:
        configuration = yaml.safe_load((OPS / "prometheus.yml").read_text())
        configuration["global"] |= {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL}
        for scrape in configuration["scrape_configs"]:
            del scrape["dns_sd_configs"]
            addresses = [urlsplit(url).netloc for url in self._targets[scrape["job_name"]]]
            scrape["static_configs"] = [{"targets": addresses}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (folder / "rules.yml").write_text((OPS / "rules.yml").read_text())
        (folder / "alerts.yml").write_text(FOR.sub(rf"\1 {self._alerts_after}", (OPS / "alerts.yml").read_text()))

    async def _all_up(self) -> bool:
        try:
            up = await self.query("up == 1")
        except aiohttp.ClientError:
            return False
        return len(up) == sum(map(len, self._targets.values()))
