import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.commands.installation.finding import (
    Choice,
    Found,
    Origin,
    describe_not_joined,
    find_by_itself,
    find_chosen,
    list_set_aside,
    merge_settings,
    select_settings,
)
from pipeline.commands.installation.running import Running, list_found, list_profiles, look, remove_entry
from pipeline.start_error import StartError
from tests.support.running import hold, leave_files

KAFKA, DATABASE = "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS", "HOOKLINE_DATABASE_WRITE_URL"


class Machine:
    """One user's `hookline up`s: `start` makes one that runs, `kill` leaves its files."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {"XDG_STATE_HOME": str(home / "state"), "XDG_DATA_HOME": str(home / "data")}
        self._held: dict[Path, ExitStack] = {}

    def start(self, name: str, *, is_listed: bool = True, profile: str = "") -> Path:
        root = self.home / name / ".hookline"
        leave_files(root, self.environ, is_listed=is_listed, profile=profile)
        self._held[root] = ExitStack()
        self._held[root].enter_context(hold(root))
        return root

    def kill(self, root: Path) -> None:
        self._held.pop(root).close()

    def end(self) -> None:
        for held in self._held.values():
            held.close()

    def find(self, cwd: str = "elsewhere", **environ: str) -> Found | None:
        return find_by_itself(self.environ | environ, self.home / cwd)

    def find_root(self, cwd: str = "elsewhere", **environ: str) -> Path | None:
        found = self.find(cwd, **environ)
        return None if found is None else found.running.root


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.end()


def test_nothing_runs(machine: Machine) -> None:
    """The settings hold, with their defaults."""
    assert machine.find() is None


def test_the_only_one_is_found_from_anywhere(machine: Machine) -> None:
    """The list is looked at."""
    root = machine.start("shop")
    found = machine.find()

    assert found is not None
    assert (root, Origin.ELSEWHERE, "shop") == (found.running.root, found.origin, found.running.profile)


def test_the_one_of_this_directory_comes_first_and_counts_below_it(machine: Machine) -> None:
    """Git does it likewise; of several that lie in each other the nearest counts."""
    shop, inner = machine.start("shop"), machine.start("shop/inner")
    machine.start("other")

    assert [shop, shop, inner] == [machine.find_root(cwd) for cwd in ("shop", "shop/src/deep", "shop/inner/src")]


def test_several_are_named_with_the_way_to_choose(machine: Machine) -> None:
    """None of them is taken."""
    shop, other = machine.start("shop"), machine.start("other")
    with pytest.raises(StartError) as caught:
        machine.find()

    assert (
        f"2 `hookline up` run: other in {other}, shop in {shop}: choose with --profile NAME or --data-dir DIR, or run "
        "this in the directory of one of them"
    ) == str(caught.value)


def test_what_the_environment_names_wins(machine: Machine) -> None:
    """A mixture of two would be worse than none: one that differs is not looked at, not even here."""
    machine.start("shop")

    assert machine.find("shop", **{KAFKA: "kafka.example.com:9092", DATABASE: "postgresql://db/x"}) is None
    assert machine.find("shop", **{KAFKA: "kafka.example.com:9092"}) is None
    assert machine.find("shop", **{DATABASE: "postgresql://db/x"}) is None
    assert machine.find("shop", HOOKLINE_DATABASE_READ_URLS="postgresql://db/x") is None


def test_one_that_the_environment_agrees_with_is_found(machine: Machine) -> None:
    """A `hookline up` that was started with this Kafka, in a terminal with the same setting."""
    shop = machine.start("shop")
    machine.start("other")

    assert shop == machine.find_root(**{KAFKA: "shop:9092"})


def test_one_that_was_killed_is_one_sentence(machine: Machine) -> None:
    """A dead one is not replaced by another in its directory; elsewhere the one that runs is found."""
    shop = machine.start("shop")
    machine.kill(shop)
    for cwd in ("shop", "elsewhere"):
        with pytest.raises(
            StartError, match=rf"^the `hookline up` in {shop} ended without tidying up .* start it again"
        ):
            machine.find(cwd)
    other = machine.start("other")

    assert other == machine.find_root()
    with pytest.raises(StartError, match="ended without tidying up"):
        machine.find("shop")
    assert machine.find("shop", **{KAFKA: "kafka.example.com:9092"}) is None


def test_one_that_starts_is_one_sentence(machine: Machine) -> None:
    """The report is written when all runs."""
    root = machine.home / "shop" / ".hookline"
    (root / "run").mkdir(parents=True)
    with hold(root), pytest.raises(StartError, match="is starting or stopping"):
        machine.find("shop")


def test_one_that_ended_in_order_leaves_nothing(machine: Machine) -> None:
    """The entry is gone, and one whose directory was removed is taken off the list."""
    shop = machine.start("shop")
    remove_entry(machine.environ, shop)
    assert machine.find() is None

    other = machine.start("other")
    machine.kill(other)
    (other / "run" / "report.json").unlink()
    assert ([], []) == (list_found(machine.environ), list((machine.home / "state" / "hookline" / "running").iterdir()))


def test_an_unlisted_one_is_found_where_it_is(machine: Machine) -> None:
    """Benchmarks start such, beside others."""
    root = machine.start("shop", is_listed=False)

    assert [None, root] == [machine.find_root(cwd) for cwd in ("elsewhere", "shop")]
    assert root == find_chosen(Choice(data_dir=root), machine.environ).running.root


def test_what_the_command_line_names(machine: Machine) -> None:
    """A profile or a directory finds one, also beside others."""
    shop, other = machine.start("shop"), machine.start("other", profile="second")

    assert other == find_chosen(Choice(profile="second"), machine.environ).running.root
    assert shop == find_chosen(Choice(data_dir=shop), machine.environ).running.root
    assert ["second", "shop"] == list_profiles(machine.environ)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (Choice(profile="none"), r"no `hookline up` with the profile none runs; those that run: shop in /.*/shop"),
        (Choice(profile="../shop"), r"no `hookline up` with the profile \.\./shop runs"),
        (Choice(data_dir=Path("/nowhere")), "no `hookline up` runs in /nowhere"),
        (Choice(profile="shop", data_dir=Path("/nowhere")), "give one of them"),
    ],
)
def test_a_name_that_fits_none(machine: Machine, choice: Choice, reason: str) -> None:
    """No other one is taken instead."""
    machine.start("shop")
    with pytest.raises(StartError, match=reason):
        find_chosen(choice, machine.environ)


def test_a_profile_that_two_have(machine: Machine) -> None:
    """The sentence names both."""
    roots = [machine.start("shop"), machine.start("other", profile="shop")]
    with pytest.raises(StartError) as caught:
        find_chosen(Choice(profile="shop"), machine.environ)

    assert all(str(root) in str(caught.value) for root in roots)


def test_a_profile_that_was_killed(machine: Machine) -> None:
    """The sentence is the same, listed or not."""
    machine.kill(machine.start("elsewhere", profile="second"))
    with pytest.raises(StartError, match="ended without tidying up"):
        find_chosen(Choice(profile="second"), machine.environ)
    root = machine.home / "data" / "hookline" / "shop"
    leave_files(root, machine.environ, is_listed=False)
    with pytest.raises(StartError, match="ended without tidying up"):
        find_chosen(Choice(profile="shop"), machine.environ)


def test_settings_of_the_environment_stand_above_those_found(machine: Machine) -> None:
    """Places are those of a chosen installation; keys of the environment replace both of its settings of keys."""
    root = machine.start("shop")
    found = find_chosen(Choice(data_dir=root), machine.environ)
    environ = {DATABASE: "postgresql://db/x", "HOOKLINE_SEALING_KEYS": "a:b", "HOOKLINE_KAFKA_TOPIC_PREFIX": "new."}

    assert {
        KAFKA: "shop:9092",
        DATABASE: "postgresql://hookline:hush@shop/hookline",
        "HOOKLINE_SEALING_KEYS": "a:b",
        "HOOKLINE_KAFKA_TOPIC_PREFIX": "new.",
    } == merge_settings(environ, found)
    assert [DATABASE] == list_set_aside(environ, found)


def test_what_is_handed_on() -> None:
    """Settings of the installation, files by whole paths; nothing of one process or of the shell."""
    assert {
        "HOOKLINE_KAFKA_CA_FILE": str(Path("ca.pem").absolute()),
        "HOOKLINE_KAFKA_PARTITIONS": "3",
    } == select_settings(
        {
            "HOOKLINE_KAFKA_CA_FILE": "ca.pem",
            "HOOKLINE_KAFKA_PARTITIONS": "3",
            "HOOKLINE_GATEWAY_PORT": "8080",
            "HOOKLINE_PROCESS_LOG_FORMAT": "json",
            "HOOKLINE_EMBEDDED_CACHE_DIR": "/cache",
            "PATH": "/bin",
        }
    )


def test_only_its_user_can_read_it(machine: Machine) -> None:
    """Keys and passwords are in the data directory; the list has none."""
    root = machine.start("shop")
    (entry,) = (machine.home / "state" / "hookline" / "running").iterdir()
    files = [root / "run" / "settings.json", root / "run" / "report.json", entry]

    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}
    assert 0o700 == stat.S_IMODE(entry.parent.stat().st_mode)
    assert "hush" not in entry.read_text()


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\x00"])
def test_half_a_file_is_none(machine: Machine, content: str) -> None:
    """A sentence is the answer to any content."""
    root = machine.start("shop")
    (root / "run" / "settings.json").write_text(content)

    assert not isinstance(look(root), Running)
    with pytest.raises(StartError, match="is starting or stopping"):
        machine.find("shop")


def test_a_process_is_told_of_each_that_it_might_join(machine: Machine) -> None:
    """A process names all that run, not one of them as if it were the only one."""
    assert describe_not_joined(machine.environ) is None

    machine.start("a", profile="a")
    assert "not joining the `hookline up` that runs: --profile a would" == describe_not_joined(machine.environ)

    machine.start("b", profile="b")
    line = "not joining any of the 2 `hookline up` that run: --profile a or --profile b would"
    assert line == describe_not_joined(machine.environ)
