"""A broker that cannot be reached is one sentence, with its reason: the Kafka client writes no lines of its own."""

import json
import os
import subprocess
import sys

# with a name that has no address, so that a command, too, leaves it to the client
SERVERS = "127.0.0.1:1,no-such-name.invalid:9092"
NOWHERE = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": SERVERS}
REASON = f"cannot reach Kafka at {SERVERS}: "


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A `hookline` sub-command without a broker."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env=os.environ | NOWHERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_says_one_sentence() -> None:
    """A person reads why, and nothing else."""
    finished = run("topics", "plan")

    [line] = finished.stderr.splitlines()
    assert line.startswith(f"hookline: {REASON}")
    assert "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS" in line
    assert finished.returncode == 2
    assert finished.stdout == ""


def test_a_process_logs_in_its_form() -> None:
    """Every line of a process that does not start is one of its log."""
    finished = run("matcher")

    lines = [json.loads(line) for line in finished.stderr.splitlines()]
    assert lines[-1]["event"] == "cannot_start"
    assert lines[-1]["reason"].startswith(REASON)
    failing = [line["reason"] for line in lines if line["event"] == "kafka_client_failing"]
    assert len(set(failing)) == len(failing)
    assert finished.returncode != 0
