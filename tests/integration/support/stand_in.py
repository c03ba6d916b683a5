"""A stand-in for `hookline up --json`, without Hookline: for the tests of the tool that starts it.

Starts two sleepers, restarts one that dies, writes their pid files, reports, and ends them on SIGTERM; `--leave-one`
forgets the second, `--fail` ends before the report.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--leave-one", action="store_true")
    parser.add_argument("--fail", action="store_true")
    options = parser.parse_args()
    if options.fail:
        sys.exit("HOOKLINE_NONSENSE is not a setting")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run_dir: Path = options.data_dir / "run"
    run_dir.mkdir(parents=True)
    sleepers = [start(run_dir, n) for n in (1, 2)]
    try:
        report(sleepers)
        while True:
            time.sleep(0.02)
            for n, sleeper in enumerate(sleepers, 1):
                if sleeper.poll() is not None:
                    sleepers[n - 1] = start(run_dir, n)
    finally:
        for sleeper in sleepers[:1] if options.leave_one else sleepers:
            sleeper.kill()
            sleeper.wait()


def start(run_dir: Path, n: int) -> "subprocess.Popen[bytes]":
    sleeper = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL, start_new_session=True)
    (run_dir / f"sleeper.{n}.pid").write_text(str(sleeper.pid))
    return sleeper


def report(sleepers: "list[subprocess.Popen[bytes]]") -> None:
    names = (
        *("api", "organization_id", "application_id", "application_secret", "subscription_id", "subscription_secret"),
        *("receiver", "master_api_key", "kafka", "database_url", "profile", "data_dir"),
    )
    settings = {name: value for name, value in os.environ.items() if name.startswith("HOOKLINE_")}
    pids = {"sleeper": [sleeper.pid for sleeper in sleepers]}
    # an unknown member, too: the report may grow
    line = {name: f"the {name}" for name in names} | {"metrics": settings, "pids": pids, "new": 1}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
