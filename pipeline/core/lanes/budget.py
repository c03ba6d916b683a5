"""Bounds of what lanes hold of a process at once: records, bytes, and places (open calls of the sink).

Three levels share it: a lane, its application, the process. The rule is a dynamic threshold (Choudhury, Hahne, 1998):
an application may hold as much as is still free, a lane as much as is still free of its application's. However many
there are, and whatever their limits, an equal share is left for the next one.

What is free depends on how a lane is doing. Slow lanes share a part of all, lanes of which nothing is known yet another
one; proven lanes share more, the others included. So slow and unknown lanes never take what proven ones need. The rest
of records and bytes is for records being parked.

No clock in here; the gate says how a lane is doing.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import IntEnum


class Standing(IntEnum):
    """A lane's state: slow, unknown or proven."""

    SLOW = 0
    UNKNOWN = 1
    PROVEN = 2  # its last request succeeded, and quickly


# of all records and bytes in flight, by standing; that of proven lanes is for all together
HELD_SHARES = (0.25, 0.25, 0.75)
PLACE_SHARES = (0.5, 0.25, 1.0)
# An application that is alone may hold everything, but for slow lanes. One of several may with proven lanes, while no
# application seen lately holds less than this share of it: then the process is at its limit, and parking would only
# make more work.
SIMILAR_SHARE = 0.25
LEFT_SHARE = 0.25  # of what proven lanes may hold: is less of it left, lanes that hold more than their shares give back
FILL_BYTES = 9 / 8  # of the bytes that may be in flight: records read at once may go beyond
# The threshold alone leaves little when hundreds of applications come one after the other, each taking what is free.
# Of places for slow and unknown lanes, and of records of unknown ones, the last half goes to applications that have
# none yet.
ONE_EACH_BELOW = 0.5


@dataclass(slots=True)
class Held:
    """The used amount of one resource, by standing."""

    slow: int = 0
    unknown: int = 0
    proven: int = 0
    all: int = 0  # of the three together

    def beside(self, standing: Standing) -> int:
        """The use that counts against a lane: that of all lanes if it is proven, else that of its own standing."""
        if standing is Standing.PROVEN:
            return self.all
        return self.slow if standing is Standing.SLOW else self.unknown

    def add(self, standing: Standing, amount: int) -> None:
        self.all += amount
        if standing is Standing.PROVEN:
            self.proven += amount
        elif standing is Standing.UNKNOWN:
            self.unknown += amount
        else:
            self.slow += amount


@dataclass(frozen=True, slots=True)
class Caps:
    """The cap of one resource, by standing."""

    slow: int
    unknown: int
    proven: int

    def free(self, held: Held, standing: Standing) -> int:
        """How much is free for lanes of this standing. Less than nothing after many turned slow."""
        if standing is Standing.PROVEN:
            return self.proven - held.all
        if standing is Standing.SLOW:
            return self.slow - held.slow
        # unknown lanes that turn slow leave room for more unknown ones, which must not go on for ever
        return min(self.unknown - held.unknown, self.slow + self.unknown - held.slow - held.unknown)


def share(amount: int, shares: tuple[float, float, float]) -> Caps:
    """The caps that are these shares of an amount, each one at least."""
    slow, unknown, proven = (max(1, int(amount * share)) for share in shares)
    return Caps(slow, unknown, proven)


@dataclass(slots=True)
class Usage:
    """The use of one application, or of the process."""

    records: Held = field(default_factory=Held)
    size_bytes: Held = field(default_factory=Held)
    places: Held = field(default_factory=Held)


@dataclass(slots=True, eq=False)
class Application:
    """Records, bytes and places that one application's lanes hold together."""

    owner: Hashable
    usage: Usage = field(default_factory=Usage)
    lanes: int = 0
    most: int = 0  # records held since the last `rotate`
    is_seen: bool = True


@dataclass(slots=True, eq=False)
class Account:
    """Records, bytes and places that one lane holds."""

    key: Hashable
    application: Application
    standing: Standing
    records: int = 0
    size_bytes: int = 0
    places: int = 0


class Budget:
    """Accounts of all lanes that hold something."""

    def __init__(self, *, records_max: int, bytes_max: int, places_max: int, batch_max: int = 0) -> None:
        """`batch_max`: records that are read at once, and so may come although reading is about to stop."""
        self._fill_records_max = records_max + batch_max
        self._bytes_max = bytes_max
        self._records_caps = share(records_max, HELD_SHARES)
        self._bytes_caps = share(bytes_max, HELD_SHARES)
        self._places_caps = share(places_max, PLACE_SHARES)
        self._accounts: dict[Hashable, Account] = {}
        self._applications: dict[Hashable, Application] = {}
        self._fewest = 0  # records that any application seen lately held at its fullest
        self.may_fill = True  # may an application hold everything when it is alone, or all hold much?
        self.total = Usage()

    def __len__(self) -> int:
        """Lanes that hold something."""
        return len(self._accounts)

    @property
    def records(self) -> int:
        """Records that lanes hold."""
        return self.total.records.all

    def find(self, key: Hashable, owner: Hashable, standing: Standing) -> Account:
        """The account of a lane, with its standing brought up to date."""
        account = self._accounts.get(key)
        if account is None:
            application = self._applications.get(owner)
            if application is None:
                application = self._applications[owner] = Application(owner)
                self._fewest = 0
            application.is_seen = True
            return Account(key, application, standing)
        if account.standing is not standing:
            self._move(account, standing)
        return account

    def look_up(self, key: Hashable) -> Account | None:
        """The account of a lane that holds something."""
        return self._accounts.get(key)

    def update(self, account: Account, standing: Standing) -> None:
        """The lane is doing better or worse."""
        if account.standing is not standing:
            self._move(account, standing)

    # Records and bytes.

    def admits(self, account: Account) -> bool:
        """May this lane take another record? Its size does not matter: one record may go beyond any threshold."""
        room_records, room_bytes = self._find_room(account)
        if account.standing is Standing.UNKNOWN and self._is_scarce():
            free_records = room_records + account.application.usage.records.unknown
            room_records = min(free_records, 1 - account.application.usage.records.unknown)
        return (account.records < room_records and account.size_bytes < room_bytes) or self._may_fill(account)

    def is_over(self, account: Account) -> bool:
        """Does this lane hold more than it may by now, so that its waiting records must be parked?"""
        if account.records <= 1:
            return False
        if account.standing is not Standing.SLOW and (self._is_within() or self._may_fill(account)):
            return False
        room_records, room_bytes = self._find_room(account)
        # without the last record, which counts at three levels
        mean_bytes = account.size_bytes / account.records
        return account.records > room_records + 3 or account.size_bytes > room_bytes + 3 * mean_bytes

    def take(self, account: Account, size_bytes: int) -> None:
        """Count a record that was admitted, or that must be held in any case."""
        if not account.records:
            self._accounts[account.key] = account
            account.application.lanes += 1
        account.records += 1
        account.size_bytes += size_bytes
        self._add(account, 1, size_bytes, 0)
        application = account.application
        application.most = max(application.most, application.usage.records.all)

    def give_back(self, account: Account, size_bytes: int) -> None:
        """A record was settled, parked or dropped."""
        account.records -= 1
        account.size_bytes -= size_bytes
        self._add(account, -1, -size_bytes, 0)
        if not account.records:
            del self._accounts[account.key]
            account.application.lanes -= 1

    # Places.

    def may_open(self, application: Application, standing: Standing) -> bool:
        """Is there a place for a lane of this application and standing?"""
        free = self._places_caps.free(self.total.places, standing)
        own = application.usage.places.beside(standing)
        if standing is Standing.SLOW and free <= self._places_caps.slow * ONE_EACH_BELOW:
            return own == 0 < free
        if standing is Standing.UNKNOWN and free <= self._places_caps.unknown * ONE_EACH_BELOW:
            return own == 0 < free
        return own < free

    def has_place(self, standing: Standing) -> bool:
        """Is there a place for any lane of this standing?"""
        return self._places_caps.free(self.total.places, standing) > 0

    def open(self, account: Account) -> None:
        """A place is taken."""
        account.places += 1
        self._add(account, 0, 0, 1)

    def close(self, account: Account) -> None:
        """A place is given back."""
        account.places -= 1
        self._add(account, 0, 0, -1)

    # Who else is there.

    def observe(self) -> None:
        """Find the application that holds least. Call it several times a second."""
        seen = [application for application in self._applications.values() if application.is_seen]
        self._fewest = min((application.most for application in seen), default=0)
        for application in seen:
            application.most = application.usage.records.all

    def rotate(self) -> None:
        """Forget applications without work since the last call; to be called every few seconds."""
        for owner, application in list(self._applications.items()):
            if application.lanes:
                continue
            if not application.is_seen:
                del self._applications[owner]
            application.is_seen = False

    def _find_room(self, account: Account) -> tuple[int, int]:
        """How many records and bytes a lane must stay below."""
        standing, usage, total = account.standing, account.application.usage, self.total
        free_records = self._records_caps.free(total.records, standing)
        free_bytes = self._bytes_caps.free(total.size_bytes, standing)
        return free_records - usage.records.beside(standing), free_bytes - usage.size_bytes.beside(standing)

    def _is_scarce(self) -> bool:
        free_records = self._records_caps.free(self.total.records, Standing.UNKNOWN)
        free_bytes = self._bytes_caps.free(self.total.size_bytes, Standing.UNKNOWN)
        return (
            free_records <= self._records_caps.unknown * ONE_EACH_BELOW
            or free_bytes <= self._bytes_caps.unknown * ONE_EACH_BELOW
        )

    def _is_within(self) -> bool:
        """Do lanes leave something for the next proven one? They may not after an application filled the process."""
        caps, total = (self._records_caps, self._bytes_caps), self.total
        return all(
            cap.free(held, Standing.PROVEN) >= cap.proven * LEFT_SHARE
            for cap, held in zip(caps, (total.records, total.size_bytes), strict=True)
        )

    def _may_fill(self, account: Account) -> bool:
        if not self.may_fill or account.standing is Standing.SLOW or self.records >= self._fill_records_max:
            return False
        if self.total.size_bytes.all >= self._bytes_max * FILL_BYTES:
            return False
        if len(self._applications) == 1:
            return True
        held = account.application.usage.records.all
        return account.standing is Standing.PROVEN and held * SIMILAR_SHARE <= self._fewest

    def _move(self, account: Account, standing: Standing) -> None:
        self._add(account, -account.records, -account.size_bytes, -account.places)
        account.standing = standing
        self._add(account, account.records, account.size_bytes, account.places)

    def _add(self, account: Account, records: int, size_bytes: int, places: int) -> None:
        standing = account.standing
        for usage in (self.total, account.application.usage):
            if records:
                usage.records.add(standing, records)
                usage.size_bytes.add(standing, size_bytes)
            if places:
                usage.places.add(standing, places)
