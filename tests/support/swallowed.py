"""Fails a test in which an error was swallowed: by a background task that died unseen, or by a callback that raised.

asyncio only logs such errors. In this process its logger is watched; what the product's own processes logged is
searched by the fixtures that start them.
"""

import gc
import inspect
import logging
from collections.abc import Generator

import pytest

# asyncio's and Python's own words for an error that reached no one
SIGNS = (
    "exception was never retrieved",
    "Exception in callback",
    "Task was destroyed but it is pending",
    "was never awaited",
    "Exception ignored in",
    "Unhandled exception in client_connected_cb",
    "problem_undocumented",  # ours: the API answered with what its document does not say
)


def find_swallowed(text: str) -> list[str]:
    """The lines of a log that tell of a swallowed error."""
    return [line for line in text.splitlines() if any(sign in line for sign in SIGNS)]


class Watch(logging.Handler):
    """Collects what asyncio logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(logging.Formatter().format(record))


class SwallowedErrors:
    """The plugin."""

    def __init__(self) -> None:
        self._watch = Watch()

    def pytest_sessionstart(self) -> None:
        logging.getLogger("asyncio").addHandler(self._watch)

    def pytest_collection_finish(self) -> None:
        # what is here now is not looked through after each test: a collection then takes a millisecond
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            gc.collect()  # a task that died says so when it is collected
        seen, self._watch.seen = self._watch.seen, []
        if seen:
            pytest.fail("an error was swallowed:\n" + "\n".join(seen), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SwallowedErrors(), "swallowed-errors")
