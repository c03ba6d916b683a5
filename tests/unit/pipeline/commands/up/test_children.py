from pathlib import Path

from pipeline.commands.up.children import build_environ
from pipeline.commands.up.data_directory import DataDirectory
from pipeline.config import load_settings

DATA = DataDirectory(root=Path("/data"), is_new=True, run_lock=-1)


def test_what_the_user_set_is_passed_on_and_what_only_we_know_wins() -> None:
    """Settings that the processes read without complaint."""
    given = {"HOOKLINE_WORKER_CONCURRENCY": "3", "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "theirs:1", "HOME": "/home"}
    environ = build_environ(given, {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "ours:1"}, data=DATA, watched_fd=7, start_fd=8)

    settings = load_settings(environ)
    assert "/home" == environ["HOME"]
    assert (3, "ours:1") == (settings.worker.concurrency, settings.kafka.bootstrap_servers)
    assert (7, 8) == (settings.process.parent_watch_fd, settings.process.start_fd)
    assert Path("/data/run") == settings.process.run_dir


def test_our_defaults_give_way() -> None:
    """Loopback is allowed and logs are JSON, unless the user says otherwise."""
    ours = load_settings(build_environ({}, {}, data=DATA, watched_fd=7, start_fd=8))
    theirs = {"HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES": "false", "HOOKLINE_PROCESS_LOG_FORMAT": "text"}
    changed = load_settings(build_environ(theirs, {}, data=DATA, watched_fd=7, start_fd=8))

    assert (True, "json") == (ours.deliver.allow_private_addresses, ours.process.log_format)
    assert (False, "text") == (changed.deliver.allow_private_addresses, changed.process.log_format)
