"""Starts a broker beside the one that runs, to keep what its JVM learns (`kafka_warmth`). A program of its own."""

import os
import shutil
import sys
from pathlib import Path

from pipeline.embedded.data_dir import lock_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.progress import keep_silent

LOWEST = 19


def main(place: str, heap_mib: str, cache_dir: str = "") -> None:
    """`kafka_rehearsal PLACE HEAP_MIB [CACHE_DIR]`: work in the directory PLACE, which is removed at the end."""
    os.nice(LOWEST)
    if sys.platform == "linux":  # only when nothing else wants a processor
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    work = Path(place)
    shutil.rmtree(work, ignore_errors=True)  # left behind by one that was killed
    work.mkdir(mode=0o700)
    try:
        with lock_directory(work, "rehearsal", keep_silent) as lock:
            EmbeddedKafka.rehearse(work, lock, heap_mib=int(heap_mib), cache_dir=Path(cache_dir) if cache_dir else None)
    except (EmbeddedError, OSError) as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
