"""A process as `hookline up` starts it, without Hookline: announces itself, and does what its first argument says.

`steady` ends by SIGTERM; `stubborn` does not; `refuse` refuses to start, `refuse-later` from the second time on;
`garbled` fails before it has logs; `chatty` says two lines on standard output.
"""

import json
import os
import signal
import sys
from pathlib import Path


def main(name: str, way: str, memory: str) -> None:
    starts = len(Path(memory).read_text()) if Path(memory).exists() else 0
    Path(memory).write_text("x" * (starts + 1))
    if way == "garbled":
        sys.exit("hookline: HOOKLINE_NONSENSE is not a setting")
    if way == "refuse" or (way == "refuse-later" and starts > 0):
        sys.stderr.write(json.dumps({"event": "cannot_start", "reason": "there is no log"}) + "\n")
        sys.stderr.write("a last line that says nothing\n")
        sys.exit(2)
    # blocked and taken below: a handler of Python's would not run for a signal that comes just before it sleeps
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if way == "chatty":
        sys.stdout.write("one\ntwo\n")
        sys.stdout.flush()
    run_dir = Path(os.environ["HOOKLINE_PROCESS_RUN_DIR"])
    partial = run_dir / f"{name}.{os.getpid()}.partial"
    partial.write_text(json.dumps({"pid": os.getpid(), "name": name, "api": "here"}))
    partial.rename(partial.with_suffix(".json"))
    while signal.sigtimedwait({signal.SIGTERM}, 600) and way == "stubborn":
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
