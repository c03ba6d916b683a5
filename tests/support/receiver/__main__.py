"""`python -m tests.support.receiver`: the receiver as a process of its own.

Prints one JSON line with its addresses when it listens. Ends on SIGTERM, or with its parent.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop

from tests.support.receiver.control import serve_control
from tests.support.receiver.requests import Journal
from tests.support.receiver.script import Step, parse_step
from tests.support.receiver.server import HOST, Receiver


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.receiver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one")
    parser.add_argument("--journal", type=Path, required=True, help="file the requests are appended to")
    parser.add_argument("--digests-only", action="store_true", help="leave bodies out of the journal")
    parser.add_argument("--default", type=parse_step, default="Ok()", help="what answers paths without a script")
    parser.add_argument("--script", nargs="+", action="append", default=[], metavar=("PATH", "STEP"))
    parser.add_argument("--stop-at-end-of-input", action="store_true", help="end when standard input is closed")
    uvloop.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if options.stop_at_end_of_input:
        loop.add_reader(sys.stdin.fileno(), stopping.set)
    journal = Journal(options.journal, keeps_bodies=not options.digests_only)
    default: Step = options.default
    async with Receiver(port=options.port, default=default, journal=journal, keeps_requests=False) as receiver:
        for path, *steps in options.script:
            receiver.script(path, *(parse_step(step) for step in steps))
        runner, control_port = await serve_control(receiver)
        addresses = {"url": receiver.url(""), "control": f"http://{HOST}:{control_port}"}
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        await stopping.wait()
        await runner.cleanup()
    journal.close()


if __name__ == "__main__":
    main()
