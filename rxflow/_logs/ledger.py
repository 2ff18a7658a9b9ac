"""The ledger: which log rows of some runs were told, in bounded memory.

Rows that may still get company are known by their ids: those not older than the *floor*, which
follows ten seconds behind the newest row and the server's clock, and those that were stored less
than that before the newest one. Of the rest each run has *buckets*: from a time on, how many rows
were told, and the sum of their ids as numbers. With a bucket's rows at hand the sum tells whether
they are those that were told, and if one is not, which.

Each line of a run comes through here, and most come in order. So pages are taken in as a whole, and
what is not older than the floor is kept sorted: whatever the floor passes is cut off at one end.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from heapq import heappop, heappush, merge
from itertools import combinations, islice
from operator import attrgetter, itemgetter
from typing import Protocol, TypeVar

import msgspec

from rxflow._models.times import later

WINDOW = timedelta(seconds=10)
"""How far the floor is behind, and how long a commit may take before its row is hard to tell."""

_EARLIEST = datetime.min.replace(tzinfo=UTC) + WINDOW  # a writer's clock may say anything

_MODULUS = (1 << 128) - 1  # by which a number leaves the sum of its 16-byte digits, as 9 by nines
_RANDOM = frozenset([*range(0x40, 0x50), *range(0x70, 0x80)])  # a UUID's byte with its version
_MOST_COMBINATIONS = 20_000


class LogRow(Protocol):
    """What is asked of a row, readable or not."""

    @property
    def id(self) -> str: ...
    @property
    def flow_run_id(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def created(self) -> datetime: ...


R = TypeVar("R", bound=LogRow)


LedgerRow = tuple[datetime, datetime, str, str]
"""A row that was told: its timestamp, created, flow_run_id and id. So they sort by time."""

_ledger_row = attrgetter("timestamp", "created", "flow_run_id", "id")
_timestamp = itemgetter(0)


class Bucket(msgspec.Struct, array_like=True):
    """Rows of one run that were told, from ``start`` to where the next bucket starts.

    Attributes:
        start: None for the first bucket of a run, which begins before all time.
        digest: The sum of the rows' ids as numbers, as 16 bytes.
    """

    start: datetime | None
    count: int = 0
    digest: bytes = bytes(16)


class LedgerState(msgspec.Struct, frozen=True):
    """All of a ledger, to save and load."""

    above: list[LedgerRow]
    young: list[tuple[datetime, str]]
    buckets: dict[str, list[Bucket]]
    floor: datetime | None
    newest: datetime | None
    clock: datetime | None
    fill: int
    most_buckets: int


class Ledger:
    """What was told of the log rows of some runs."""

    def __init__(
        self, flow_run_ids: Iterable[str], *, fill: int = 190, most_buckets: int = 4096
    ) -> None:
        """Start with nothing told.

        Args:
            flow_run_ids: The runs.
            fill: Rows of a bucket before the next is begun: a page with some room, so that one is
                read at once.
            most_buckets: Buckets of a run before neighbours are joined.
        """
        self._buckets: dict[str, list[Bucket]] = {run: [Bucket(None)] for run in flow_run_ids}
        self._above: list[LedgerRow] = []  # not older than the floor, sorted
        self._young: list[tuple[datetime, str]] = []  # older, but stored lately: a heap
        self._known: set[str] = set()  # the ids of both
        self._fill = fill
        self._most_buckets = most_buckets
        self._folded = 0
        self._newest: datetime | None = None
        self.floor: datetime | None = None
        self.clock: datetime | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs."""
        return tuple(self._buckets)

    @property
    def total(self) -> int:
        """How many rows were told."""
        return self._folded + len(self._above)

    @property
    def above(self) -> int:
        """How many of them are not older than the floor."""
        return len(self._above)

    @property
    def held(self) -> int:
        """How many ids are kept."""
        return len(self._known)

    @property
    def horizon(self) -> datetime | None:
        """Of rows stored before this time, by the server's clock, those told are not all known."""
        return None if self.clock is None else self.clock - WINDOW

    def buckets_of(self, flow_run_id: str) -> Sequence[Bucket]:
        """The buckets of a run, by time, without gaps up to the floor."""
        return self._buckets[flow_run_id]

    def untold(self, rows: Iterable[R]) -> list[R]:
        """Which rows were not told; of old rows below the floor this is a guess.

        The guess is that they became visible within ten seconds of being stored, and were told
        then.
        """
        known, floor, horizon = self._known, self.floor, self.horizon
        if floor is None or horizon is None:
            return [row for row in rows if row.id not in known]
        return [
            row
            for row in rows
            if row.id not in known and (row.timestamp >= floor or row.created >= horizon)
        ]

    def is_new(self, row: LogRow) -> bool:
        """Whether a row was not told; guessed as in `untold`."""
        return bool(self.untold([row]))

    def knows(self, row: LogRow) -> bool:
        """Whether a row is known to have been told."""
        return row.id in self._known

    def later_than(self, time: datetime) -> int:
        """How many rows were told that are dated later; of a time not below the floor."""
        return len(self._above) - bisect_right(self._above, time, key=_timestamp)

    def window(self) -> list[str]:
        """The ids of all rows that were told and are not older than the floor."""
        return [row_id for _, _, _, row_id in self._above]

    def add(self, rows: Iterable[LogRow]) -> None:
        """Take rows for told."""
        told = sorted(map(_ledger_row, rows))
        self._remember(told)
        low = 0 if self.floor is None else bisect_left(told, self.floor, key=_timestamp)
        for timestamp, created, run, row_id in told[:low]:
            heappush(self._young, (created, row_id))
            self._fold(run, timestamp, [row_id])
        self._put_above(told[low:])

    def forget(self, ids: Iterable[str]) -> None:
        """Take back rows above the floor: they are gone from the server."""
        gone = set(ids)
        if gone:
            self._above = [row for row in self._above if row[3] not in gone]
            self._known -= gone

    def replace(self, flow_run_id: str, index: int, rows: Iterable[LogRow]) -> None:
        """Take a bucket's rows for what was told of it, whatever was told before."""
        bucket = self._buckets[flow_run_id][index]
        told = sorted(map(_ledger_row, rows))
        self._remember(told)  # a young one would be taken for new when it is read again
        for _, created, _, row_id in told:
            heappush(self._young, (created, row_id))
        self._folded += len(told) - bucket.count
        bucket.count, bucket.digest = len(told), _bytes(_digest([row_id for *_, row_id in told]))

    def advance(self) -> None:
        """Move the floor up to where it belongs, and fold what is below it into buckets."""
        if self._newest is None or self.clock is None:
            return
        # A writer whose clock is ahead must not drag the floor away from the others.
        floor = max(min(self._newest, self.clock), _EARLIEST) - WINDOW
        horizon = self.clock - WINDOW
        self.rise(floor if self.floor is None else max(floor, self.floor), horizon)
        while self._young and self._young[0][0] < horizon:
            self._known.discard(heappop(self._young)[1])

    def missing_of(self, flow_run_id: str, index: int, rows: Sequence[R]) -> list[R] | None:
        """Which rows of a bucket were not told.

        Args:
            flow_run_id: The run.
            index: The bucket.
            rows: All rows that the server has in it.

        Returns:
            The rows; None if the sum fits no choice of them, as when rows are gone.
        """
        bucket = self._buckets[flow_run_id][index]
        wanted = len(rows) - bucket.count
        if wanted < 0:
            return None
        lacking = (_digest([row.id for row in rows]) - _number(bucket.digest)) % _MODULUS
        guess = self.untold(rows)
        if len(guess) == wanted and _digest([row.id for row in guess]) == lacking:
            return guess
        # A commit took longer than the window; what was stored last is most likely what is new.
        unknown = [(row, _digest([row.id])) for row in rows if row.id not in self._known]
        unknown.sort(key=lambda pair: (pair[0].created, pair[0].id), reverse=True)
        for chosen in islice(combinations(unknown, wanted), _MOST_COMBINATIONS):
            if sum(number for _, number in chosen) % _MODULUS == lacking:
                return [row for row, _ in chosen]
        return None

    def bucket_at(self, flow_run_id: str, time: datetime) -> int:
        """The index of the bucket in which a time below the floor lies."""
        buckets = self._buckets[flow_run_id]
        return bisect_right(buckets, time, lo=1, key=lambda bucket: bucket.start or time) - 1

    def join(self, other: "Ledger") -> None:
        """Take over what was told of other runs.

        Args:
            other: Their ledger, which is not to be used any more.
        """
        floor = later(self.floor, other.floor)
        if floor is not None:
            self.rise(floor)
            other.rise(floor)
        state = other.save()
        self._buckets |= state.buckets
        self._above = sorted(self._above + state.above)
        self._young = [*merge(sorted(self._young), sorted(state.young))]
        self._known = {*self.window(), *(row_id for _, row_id in self._young)}
        self._folded += other.total - other.above
        self._newest = later(self._newest, state.newest)
        self.clock = later(self.clock, state.clock)

    def leave(self, flow_run_id: str) -> "Ledger":
        """Give away what was told of a run.

        Returns:
            A ledger of that run alone.
        """
        mine = [row for row in self._above if row[2] == flow_run_id]
        buckets = {flow_run_id: self._buckets.pop(flow_run_id)}
        # Whose the rows are that are only young is not known; both keep them until they are old.
        left = Ledger.load(msgspec.structs.replace(self.save(), above=mine, buckets=buckets))
        self._above = [row for row in self._above if row[2] != flow_run_id]
        self._known.difference_update(left.window())
        self._folded -= left.total - left.above
        return left

    def rise(self, floor: datetime, horizon: datetime | None = None) -> None:
        """Move the floor up and fold what it passes; what is older than the horizon is let go."""
        old, self.floor = self.floor, floor
        passed = bisect_left(self._above, floor, key=_timestamp)
        folded: defaultdict[str, list[str]] = defaultdict(list)
        for _, created, run, row_id in self._above[:passed]:
            folded[run].append(row_id)
            if horizon is not None and created < horizon:
                self._known.discard(row_id)
            else:
                heappush(self._young, (created, row_id))
        del self._above[:passed]
        for run, ids in folded.items():
            self._fold_up(run, old, ids)

    def save(self) -> LedgerState:
        """All of it, as it is now."""
        return LedgerState(
            above=list(self._above),
            young=list(self._young),
            buckets=_copied(self._buckets),
            floor=self.floor,
            newest=self._newest,
            clock=self.clock,
            fill=self._fill,
            most_buckets=self._most_buckets,
        )

    @classmethod
    def load(cls, state: LedgerState) -> "Ledger":
        """A ledger that goes on where the saved one was."""
        ledger = cls(state.buckets, fill=state.fill, most_buckets=state.most_buckets)
        ledger._above, ledger._young = list(state.above), list(state.young)
        ledger._known = {*ledger.window(), *(row_id for _, row_id in state.young)}
        ledger._buckets = _copied(state.buckets)
        ledger.floor, ledger._newest, ledger.clock = state.floor, state.newest, state.clock
        ledger._folded = sum(b.count for buckets in state.buckets.values() for b in buckets)
        return ledger

    def _remember(self, told: Sequence[LedgerRow]) -> None:
        """Know sorted rows by their ids, and what time it is from them."""
        if not told:
            return
        self._known.update([row_id for _, _, _, row_id in told])
        newest, clock = told[-1][0], max([created for _, created, _, _ in told])
        self._newest = newest if self._newest is None else max(newest, self._newest)
        self.clock = clock if self.clock is None else max(clock, self.clock)

    def _put_above(self, told: list[LedgerRow]) -> None:
        """Keep sorted rows that are not older than the floor."""
        if not told:
            return
        at = bisect_right(self._above, told[0])
        later = self._above[at:]
        self._above[at:] = sorted(later + told) if later else told

    def _fold(self, flow_run_id: str, time: datetime, ids: Sequence[str]) -> None:
        bucket = self._buckets[flow_run_id][self.bucket_at(flow_run_id, time)]
        _put(bucket, ids)
        self._folded += len(ids)

    def _fold_up(self, flow_run_id: str, start: datetime | None, ids: Sequence[str]) -> None:
        """Extend a run's last bucket up to the floor, or begin one at the old floor."""
        buckets = self._buckets[flow_run_id]
        if buckets[-1].count and buckets[-1].count + len(ids) > self._fill:
            buckets.append(Bucket(start))
        _put(buckets[-1], ids)
        self._folded += len(ids)
        if len(buckets) > self._most_buckets:
            self._buckets[flow_run_id] = _joined(buckets)


def _copied(buckets: dict[str, list[Bucket]]) -> dict[str, list[Bucket]]:
    return {run: [copy(bucket) for bucket in each] for run, each in buckets.items()}


def _joined(buckets: list[Bucket]) -> list[Bucket]:
    """Each two neighbours as one."""
    joined = [
        Bucket(a.start, a.count + b.count, _bytes(_number(a.digest) + _number(b.digest)))
        for a, b in zip(buckets[::2], buckets[1::2], strict=False)
    ]
    return joined if len(buckets) % 2 == 0 else [*joined, buckets[-1]]


def _put(bucket: Bucket, ids: Sequence[str]) -> None:
    bucket.count += len(ids)
    bucket.digest = _bytes(_number(bucket.digest) + _digest(ids))


def _digest(ids: Sequence[str]) -> int:
    """The sum of ids as numbers: the same for the same ids in any order.

    A UUID of version 4 or 7 is its own number, which costs a third of hashing it. Its last 62 bits
    are random (RFC 9562; Prefect draws them from the system), and so are those of the difference
    of two sets' sums, whatever the other bits. Any other id is hashed.
    """
    digits = [row_id.replace("-", "") for row_id in ids]
    try:
        numbers = bytes.fromhex("".join(digits))
    except ValueError:
        numbers = b""
    each_is_a_number = len(numbers) == 16 * len(ids) and {*map(len, digits)} <= {32}
    if each_is_a_number and _RANDOM.issuperset(numbers[6::16]):
        return int.from_bytes(numbers) % _MODULUS
    if len(ids) == 1:
        return int.from_bytes(blake2b(ids[0].encode(), digest_size=16).digest()) % _MODULUS
    return sum(_digest([row_id]) for row_id in ids) % _MODULUS


def _number(digest: bytes) -> int:
    return int.from_bytes(digest)


def _bytes(number: int) -> bytes:
    return (number % _MODULUS).to_bytes(16)
