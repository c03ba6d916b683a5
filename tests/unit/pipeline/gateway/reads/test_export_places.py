"""Places of exports: given, refused, and given up."""

from contextlib import ExitStack

from pipeline.gateway.reads.export_places import SLOW_BYTES_PER_S, WAITED_MIN_S, ExportPlaces, Place

PLACES_MAX = 4


class Hall:
    """Places, a clock, and the exports that were broken off."""

    def __init__(self, places_max: int = PLACES_MAX) -> None:
        self.now_s = 100.0
        self.broken_off: list[str] = []
        self._places = ExportPlaces(places_max, clock=lambda: self.now_s)
        self._exports: dict[str, ExitStack] = {}

    def begin(self, name: str, owner: str) -> Place | None:
        self._exports[name] = ExitStack()
        return self._exports[name].enter_context(self._places.take(owner, lambda: self.broken_off.append(name)))

    def end(self, name: str) -> None:
        self._exports.pop(name).close()

    def let_take(self, place: Place | None, size_bytes: int, took_s: float) -> None:
        """Let a client take so much in so long."""
        assert place is not None
        with place.send(size_bytes):
            self.now_s += took_s


def test_an_organization_has_half_of_the_places() -> None:
    """The other half is for others; what ends makes room for either."""
    hall = Hall()
    begun = [hall.begin(name, "a") is not None for name in ("a1", "a2", "a3")]
    begun += [hall.begin(name, "b") is not None for name in ("b1", "b2")]
    begun.append(hall.begin("c1", "c") is not None)
    hall.end("a1")

    assert [True, True, False, True, True, False] == begun
    assert hall.begin("c1", "c") is not None
    assert [] == hall.broken_off


def test_a_slow_client_gives_way() -> None:
    """An export whose client takes little, or nothing at all at this moment, is broken off for one without a place."""
    hall = Hall()
    quick, slow = hall.begin("quick", "a"), hall.begin("slow", "a")
    stuck, _ = hall.begin("stuck", "b"), hall.begin("new", "b")
    hall.let_take(quick, int(10 * WAITED_MIN_S * SLOW_BYTES_PER_S), 9 * WAITED_MIN_S)
    refused = hall.begin("c1", "c")
    hall.let_take(slow, 65_536, WAITED_MIN_S)
    first = hall.begin("c2", "c")
    assert stuck is not None
    with stuck.send(65_536):
        hall.now_s += WAITED_MIN_S / 2
        second = hall.begin("d1", "d")
        hall.now_s += WAITED_MIN_S / 2
        third = hall.begin("d2", "d")

    assert [True, False, True, False] == [place is None for place in (refused, first, second, third)]
    assert ["slow", "stuck"] == hall.broken_off


def test_an_organization_frees_its_own_places() -> None:
    """A slow export gives way to a new one of its organization; that of another does not, where there is room."""
    hall = Hall()
    mine, theirs, _ = hall.begin("mine", "a"), hall.begin("theirs", "b"), hall.begin("mine too", "a")
    hall.let_take(theirs, 1, WAITED_MIN_S)
    refused = hall.begin("a3", "a")
    hall.let_take(mine, 1, WAITED_MIN_S)

    assert refused is None
    assert hall.begin("a4", "a") is not None
    assert ["mine"] == hall.broken_off


def test_one_place_is_everyones() -> None:
    """Where one export may run, any organization may have it."""
    hall = Hall(1)

    assert hall.begin("a1", "a") is not None
    assert hall.begin("b1", "b") is None
