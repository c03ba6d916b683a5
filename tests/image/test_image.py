"""The image's four processes, each in a container: read-only, not root, without capabilities. Run by `make image`."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from tests.image.container import Container, list_roots, read_config
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.free_ports import find_free_port
from tests.support.kafka import delete_topics
from tests.support.postgres import create_database
from tests.support.receiver import Receiver
from tests.support.stack import KEYS, MASTER_KEY
from tests.support.verification import verify_delivery

NAMES = ("gateway", "matcher", "deliver", "archive")
TYPE = "billing.invoice.paid"
NO_CAPABILITIES = "0" * 16
READY_TIMEOUT_S = 240.0
WRITE = """
import errno, os, pathlib
for folder in ("/", "/etc", "/opt/hookline", "/var", "/home"):
    try:
        pathlib.Path(folder, "written").write_text("")
    except OSError as error:
        print(folder, errno.errorcode[error.errno])
pathlib.Path("/tmp/written").write_text("")
print(os.getuid(), os.getgid(), os.getgroups())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The services that containers use, and their settings."""

    environ: dict[str, str]


@pytest.fixture
async def site(kafka: str, postgres: str) -> AsyncIterator[Site]:
    """Topics and an empty database: their content is made by the image's own commands."""
    prefix = f"image-{uuid4().hex[:8]}."
    with create_database(postgres) as url:
        yield Site(
            environ={
                "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
                "HOOKLINE_KAFKA_TOPIC_PREFIX": prefix,
                "HOOKLINE_KAFKA_PARTITIONS": "4",
                "HOOKLINE_KAFKA_REPLICATION_FACTOR": "1",
                "HOOKLINE_DATABASE_WRITE_URL": url,
                "HOOKLINE_DATABASE_POOL_MIN_SIZE": "1",
                "HOOKLINE_SEALING_KEYS": KEYS,
                "HOOKLINE_GATEWAY_MASTER_API_KEY": MASTER_KEY,
                "HOOKLINE_GATEWAY_DRAIN_S": "0",
                "HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "true",
            },
        )
        delete_topics(kafka, prefix)


async def run_once(root: Path, site: Site, *arguments: str) -> str:
    """Run a command that ends; what it printed."""
    async with Container(root, site.environ, *arguments) as container:
        code = await container.wait()
    assert code == 0, container.log()
    return container.log()


async def wait_ready(container: Container, port: int) -> None:
    async def is_ready() -> bool:
        assert container.is_running, container.log()
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"http://127.0.0.1:{port}/health/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

    await eventually(is_ready, timeout_s=READY_TIMEOUT_S)


async def test_one_event_through_four_containers(site: Site) -> None:
    """An event is accepted, matched, delivered with a genuine signature, and archived; every process ends with 0."""
    roots = dict(zip(NAMES, list_roots(), strict=True))
    await run_once(roots["gateway"], site, "topics", "apply")
    await run_once(roots["archive"], site, "migrate")
    api_port = find_free_port()
    async with contextlib.AsyncExitStack() as running:
        containers = {}
        for name, root in roots.items():
            port = find_free_port()
            ports = {"HOOKLINE_PROCESS_METRICS_PORT": str(port), "HOOKLINE_GATEWAY_PORT": str(api_port)}
            containers[name] = await running.enter_async_context(Container(root, site.environ | ports, name))
            await wait_ready(containers[name], port)
        api = await running.enter_async_context(Api(f"http://127.0.0.1:{api_port}/api/v1", MASTER_KEY))
        receiver = await running.enter_async_context(Receiver())
        space = await api.make_space(TYPE)
        made = await api.subscribe(space, receiver.url("/a"), TYPE)
        event_id = await api.send(space, TYPE)
        (request,) = await eventually(lambda: receiver.requests("/a"), timeout_s=60)

        async def is_archived() -> bool:
            attempts = await api.list_attempts(space, event_id)
            return ["successful"] == [attempt["status"]["type"] for attempt in attempts]

        await eventually(is_archived, timeout_s=60)
        statuses = {name: container.read_status() for name, container in containers.items()}
        codes = {name: await container.stop() for name, container in containers.items()}

    assert ("hook0", "standardwebhooks", "svix") == verify_delivery(request, made["secret"])
    assert dict.fromkeys(NAMES, 0) == codes
    for found in statuses.values():
        assert ["10001"] * 4 == found["Uid"].split()
        assert ["10001"] * 4 == found["Gid"].split()
        assert "1" == found["NoNewPrivs"]
        assert {NO_CAPABILITIES} == {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


async def test_nothing_but_tmp_can_be_written() -> None:
    """The file system is read-only for the image's user, who is in no group but its own."""
    root = list_roots()[0]
    async with Container(root, {}, "-c", WRITE, program=["python"]) as container:
        assert 0 == await container.wait(), container.log()

    assert [
        *(f"{folder} EROFS" for folder in ("/", "/etc", "/opt/hookline", "/var", "/home")),
        "10001 10001 []",
    ] == container.log().splitlines()


async def test_the_image_shows_its_help_and_has_no_installer() -> None:
    """The image's help is printed without a command; pip and compilers stayed behind in the stage that built it."""
    root = list_roots()[0]
    config = read_config()
    async with Container(root, {}, *config["Cmd"]) as container:
        assert 0 == await container.wait(), container.log()

    assert "gateway" in container.log()
    assert "10001:10001" == config["User"]
    assert not list(root.glob("opt/hookline/bin/pip*"))
