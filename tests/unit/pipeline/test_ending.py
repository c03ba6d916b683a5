"""The last step of a process."""

import subprocess
import sys

SCRIPT = """
import logging, time
from pipeline.ending import leave

class Waits:
    def __del__(self):
        print("taken apart", flush=True)
        time.sleep(3600)

waits = Waits()
print("last words")
leave({code})
"""


def test_nothing_is_taken_apart_behind_the_end() -> None:
    """An object that waits when it is destroyed, as librdkafka's clients do, keeps no process that has ended."""
    for code in (0, 3):
        script = SCRIPT.format(code=code)
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=False)

        assert (code, "last words\n") == (ended.returncode, ended.stdout), ended.stderr


def test_output_without_a_reader_does_not_matter() -> None:
    """The reader of a pipe has gone: the exit code is the process' own."""
    # buffered, whatever PYTHONUNBUFFERED says
    script = "import sys; from pipeline.ending import leave; sys.stdout = open(1, 'w'); print('x'); leave(4)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()

        assert 4 == process.wait(600)
