"""The spool: bounded, shared by applications, on disk where there is one, never another payload's bytes."""

from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from connectors.http.payloads.spool import Spool, Spooled

MAX_BYTES = 64 * 1024
KEYS = st.integers(0, 12)
OWNERS = st.sampled_from(["a", "b", "c"])
SIZES = st.sampled_from([1, 100, 4096, 10_000, 30_000, MAX_BYTES])


def keep(spool: Spool, key: int, owner: str, payload: bytes) -> Spooled:
    """Reserve, write and add, as a load does."""
    at = spool.reserve(len(payload), may_evict=True)
    if at is None:
        return spool.add(key, owner, payload, None)
    mapped = spool.write(at, payload)
    if mapped is None:
        spool.release(at, len(payload))
        return spool.add(key, owner, payload, None)
    return spool.add(key, owner, mapped, at)


class SpoolMachine(RuleBasedStateMachine):
    """Any order of loads, uses, ends and drops."""

    def __init__(self) -> None:
        super().__init__()
        self.spool = Spool(MAX_BYTES, None)
        self.used: list[tuple[Spooled, bytes]] = []
        self.number = 0

    @rule(key=KEYS, owner=OWNERS, size=SIZES)
    def load_and_use(self, key: int, owner: str, size: int) -> None:
        """A payload that the share admits is loaded and used; one that is there is found."""
        if not self.spool.admits(owner, size):
            return
        spooled = self.spool.find(key)
        if spooled is None:
            self.number += 1
            payload = self.number.to_bytes(4) * (size // 4 + 1)
            spooled = keep(self.spool, key, owner, payload[:size])
        elif not spooled.users and not self.spool.admits(spooled.owner, spooled.size):
            return
        self.spool.begin(spooled)
        self.used.append((spooled, bytes(spooled.payload)))

    @rule(key=KEYS, size=SIZES)
    def keep_beside(self, key: int, size: int) -> None:
        """A payload that comes along takes only room that nothing has."""
        before = [self.spool.find(each) for each in range(13)]
        at = self.spool.reserve(size, may_evict=False)
        if at is not None:
            mapped = self.spool.write(at, b"beside"[:1] * size)
            assert mapped is not None
            self.spool.add(100 + key, "a", mapped, at)
        assert before == [self.spool.find(each) for each in range(13)]

    @rule(key=KEYS)
    def drop(self, key: int) -> None:
        """A payload is forgotten, in use or not."""
        self.spool.drop(key)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A request ends."""
        if self.used:
            spooled, _ = self.used.pop(data.draw(st.integers(0, len(self.used) - 1)))
            self.spool.end(spooled)

    @invariant()
    def nothing_in_use_is_overwritten(self) -> None:
        """A payload in use stays what it was."""
        assert all(bytes(spooled.payload) == payload for spooled, payload in self.used)

    @invariant()
    def use_is_bounded(self) -> None:
        """All uses together stay within the bound, but for one payload that is alone."""
        sizes = {id(spooled): spooled.size for spooled, _ in self.used}
        assert sum(sizes.values()) == self.spool.used_bytes
        assert self.spool.used_bytes <= MAX_BYTES or len(sizes) == 1

    def teardown(self) -> None:
        """Everything is given back in the end: the whole spool is free again."""
        for spooled, _ in self.used:
            self.spool.end(spooled)
        for key in [*range(13), *range(100, 113)]:
            self.spool.drop(key)
        at = self.spool.reserve(MAX_BYTES, may_evict=False)
        assert 0 == at
        self.spool.close()


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=60, stateful_step_count=40)


def test_an_application_leaves_as_much_as_it_takes() -> None:
    """Another application finds room, however much the first one wants: a dynamic threshold."""
    spool = Spool(MAX_BYTES, None)
    taken = 0
    while spool.admits("greedy", 4096):
        spool.begin(keep(spool, taken, "greedy", bytes(4096)))
        taken += 1

    assert MAX_BYTES // 2 // 4096 == taken
    assert spool.admits("other", 4096)
    assert not spool.admits("other", MAX_BYTES)


def test_without_a_disk_payloads_are_kept_in_memory(tmp_path: Path) -> None:
    """A directory that is not there is said once; as soon as it is, the next payload is on disk."""
    directory = tmp_path / "missing"
    with capture_logs() as lines:
        spool = Spool(MAX_BYTES, directory)
        first = keep(spool, 1, "a", b"one")
        second = keep(spool, 2, "a", b"two")

    assert (None, None) == (first.at, second.at)
    assert (b"one", b"two") == (first.payload, second.payload)
    assert ["spool_in_memory"] == [line["event"] for line in lines]
    directory.mkdir()
    with capture_logs() as lines:
        assert 0 == keep(spool, 3, "a", b"three").at
    assert ["spool_on_disk"] == [line["event"] for line in lines]
