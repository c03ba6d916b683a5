"""Every line of a process' log has one form, that of a library too."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, warnings, structlog
from pipeline.logs import configure_logs
configure_logs("info", "{form}")
structlog.contextvars.bind_contextvars(process="matcher")
structlog.get_logger().info("started", port=1)
logging.getLogger("aiokafka.cluster").error("no node %s\\nfound", 3)
logging.getLogger("asyncio").info("not wanted")
warnings.warn("old", DeprecationWarning, stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("faust").exception("worker failed")
"""


def log(form: str) -> list[str]:
    """The lines that the script writes in this form."""
    finished = subprocess.run(
        [sys.executable, "-W", "always", "-c", SCRIPT.format(form=form)], capture_output=True, text=True, check=True
    )
    assert finished.stdout == ""
    return finished.stderr.splitlines()


def test_libraries_log_in_the_processs_form() -> None:
    """Every line of a library is a JSON object too, with its logger, its text and the process."""
    lines = [json.loads(line) for line in log("json")]

    assert ["started", *["library_says"] * 3] == [line["event"] for line in lines]
    assert {"matcher"} == {line["process"] for line in lines}
    assert [(line["library"], line["level"]) for line in lines[1:]] == [
        ("aiokafka.cluster", "error"),
        ("py.warnings", "warning"),
        ("faust", "error"),
    ]
    assert lines[1]["said"] == "no node 3\nfound"
    assert "ZeroDivisionError" in lines[3]["exception"]


@pytest.mark.parametrize("text", ["started", "said='no node 3", "worker failed", "ZeroDivisionError: division by zero"])
def test_the_console_shows_both(text: str) -> None:
    """A person reads the same facts on a console."""
    assert text in "\n".join(log("console"))


def test_a_command_leaves_stdout_to_its_answer() -> None:
    """A script that reads the answer meets no warnings of the code below; an error is on stderr."""
    script = """
import structlog
from pipeline.logs import configure_command_logs
configure_command_logs()
structlog.get_logger().warning("committed_waits")
structlog.get_logger().error("broken", where="here")
print("{}")
"""
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert finished.stdout == "{}\n"
    [line] = finished.stderr.splitlines()
    assert "broken" in line
    assert "committed_waits" not in line
