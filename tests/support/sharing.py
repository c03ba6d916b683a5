"""One service for all workers of a distributed run (`make test`): the run's controller starts it when the first worker
asks, and stops it when all workers have ended."""

import importlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

import msgspec
import pytest

from tests.support.alone import MARK, AloneTests

KEY = "hookline_services"

Start = Callable[..., AbstractContextManager[str]]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`module` and `function` name a context manager that yields an address."""

    module: str
    function: str
    arguments: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An address, or why there is none."""

    address: str = ""
    error: str = ""


@contextmanager
def share(config: pytest.Config, start: Start, *arguments: str) -> Iterator[str]:
    """The address that `start(*arguments)` yields: the controller's, or our own in a run without workers."""
    socket_path = getattr(config, "workerinput", {}).get(KEY)
    if socket_path is None:
        with start(*arguments) as address:
            yield address
    else:
        yield ask(socket_path, start, *arguments)


def ask(socket_path: str, start: Start, *arguments: str) -> str:
    """The address, from the `Services` that listen there. Raises RuntimeError with their reason when there is none."""
    question = Question(module=start.__module__, function=start.__qualname__, arguments=arguments)
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as stream:
        connection.connect(socket_path)
        stream.write(msgspec.json.encode(question) + b"\n")
        stream.flush()
        answer = msgspec.json.decode(stream.readline(), type=Answer)
    if answer.error:
        raise RuntimeError(answer.error)
    return answer.address


class Services:
    """Services that workers asked for, each started once. A context manager: everything is stopped when it is left."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self._addresses: dict[Question, str] = {}
        self._started = ExitStack()
        self._starting = threading.Lock()

    def __enter__(self) -> "Services":
        server = ThreadingUnixStreamServer(self.socket_path, self._handle)
        server.daemon_threads = True
        self._started.callback(server.server_close)
        self._started.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._started.close()

    def start(self, question: Question) -> str:
        """The address, after the start if it is the first to ask."""
        with self._starting:
            if question not in self._addresses:
                function = getattr(importlib.import_module(question.module), question.function)
                self._addresses[question] = self._started.enter_context(function(*question.arguments))
            return self._addresses[question]

    def _handle(self, request: Any, client: Any, server: Any) -> StreamRequestHandler:
        return Handler(request, client, server, services=self)


class Handler(StreamRequestHandler):
    """One question and its answer."""

    def __init__(self, *arguments: Any, services: Services) -> None:
        self._services = services
        super().__init__(*arguments)

    def handle(self) -> None:
        try:
            question = msgspec.json.decode(self.rfile.readline(), type=Question)
            answer = Answer(address=self._services.start(question))
        except Exception as error:
            answer = Answer(error=f"{type(error).__name__}: {error}")  # it fails the tests that need the service
        self.wfile.write(msgspec.json.encode(answer) + b"\n")


class Controller:
    """The plugin of a distributed run's controller."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hookline-test-services-"))
        self._services = self._stack.enter_context(Services(str(Path(directory, "socket"))))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Called before a worker starts."""
        node.workerinput[KEY] = self._services.socket_path

    def pytest_unconfigure(self) -> None:
        self._stack.close()


def find_directory(config: pytest.Config) -> Path | None:
    """Find the directory that the workers of this run share, if this is one of them."""
    socket_path = getattr(config, "workerinput", {}).get(KEY)
    return Path(socket_path).parent if socket_path is not None else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: it asserts times, and no other worker runs a test meanwhile")
    directory = find_directory(config)
    if directory is not None:
        config.pluginmanager.register(AloneTests(directory), "alone-tests")
    if getattr(config.option, "numprocesses", None):  # workers are told no number
        config.pluginmanager.register(Controller(), "controller-of-services")
