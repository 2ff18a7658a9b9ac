"""The ledger: which log rows of some runs were told, in bounded memory.

Rows that may still get company are known by their ids: those not older than the *floor*, which
follows ten to eleven seconds behind the newest row and the server's clock, and those that were
stored less than that before the newest one. Of the rest each run has *buckets*: from a time on, how
many rows were told, and the sum of the hashes of their ids. With a bucket's rows at hand the sum
tells whether they are those that were told, and if one is not, which.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import combinations, islice
from typing import Protocol, TypeVar

import msgspec

MICROSECOND = timedelta(microseconds=1)
WINDOW = timedelta(seconds=10)
"""How far the floor is behind, and how long a commit may take before its row is hard to tell."""

_STEP = timedelta(seconds=1)
_MODULUS = 1 << 128
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


class Known(msgspec.Struct, frozen=True, array_like=True):
    """A row that was told and is known by its id."""

    timestamp: datetime
    created: datetime
    flow_run_id: str


class Bucket(msgspec.Struct, array_like=True):
    """Rows of one run that were told, from ``start`` to where the next bucket starts.

    Attributes:
        start: None for the first bucket of a run, which begins before all time.
        digest: The sum of the hashes of the rows' ids, as 16 bytes.
    """

    start: datetime | None
    count: int = 0
    digest: bytes = bytes(16)


class LedgerState(msgspec.Struct, frozen=True):
    """All of a ledger, to save and load."""

    known: dict[str, Known]
    buckets: dict[str, list[Bucket]]
    floor: datetime | None
    newest: datetime | None
    clock: datetime | None
    walked: datetime
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
        self._known: dict[str, Known] = {}
        self._fill = fill
        self._most_buckets = most_buckets
        self._folded = 0
        self._above = 0
        self._walked = datetime.min.replace(tzinfo=UTC)
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
        return self._folded + self._above

    @property
    def above(self) -> int:
        """How many of them are not older than the floor."""
        return self._above

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

    def is_new(self, row: LogRow) -> bool:
        """Whether a row was not told; of an old row below the floor this is a guess.

        The guess is that it became visible within ten seconds of being stored, and was told then.
        """
        if row.id in self._known:
            return False
        if self.floor is None or row.timestamp >= self.floor or self.clock is None:
            return True
        return row.created >= self.clock - WINDOW

    def knows(self, row: LogRow) -> bool:
        """Whether a row is known to have been told."""
        return row.id in self._known

    def later_than(self, time: datetime) -> int:
        """How many rows were told that are dated later; of a time not below the floor."""
        return sum(row.timestamp > time for row in self._known.values())

    def window(self) -> list[str]:
        """The ids of all rows that were told and are not older than the floor."""
        floor = self.floor
        return [
            row_id for row_id, row in self._known.items() if floor is None or row.timestamp >= floor
        ]

    def add(self, rows: Iterable[LogRow]) -> None:
        """Take rows for told."""
        floor = self.floor
        for row in rows:
            if floor is None or row.timestamp >= floor:
                self._remember(row)
                self._above += 1
                continue
            if self.clock is None or row.created >= self.clock - WINDOW:
                self._remember(row)
            self._fold(row.flow_run_id, row.timestamp, [row.id])

    def forget(self, ids: Iterable[str]) -> None:
        """Take back rows above the floor: they are gone from the server."""
        for row_id in ids:
            row = self._known.pop(row_id)
            self._above -= self.floor is None or row.timestamp >= self.floor

    def replace(self, flow_run_id: str, index: int, rows: Iterable[LogRow]) -> None:
        """Take a bucket's rows for what was told of it, whatever was told before."""
        bucket = self._buckets[flow_run_id][index]
        ids: list[str] = []
        for row in rows:
            self._remember(row)  # a young one would be taken for new when it is read again
            ids.append(row.id)
        self._folded += len(ids) - bucket.count
        bucket.count, bucket.digest = len(ids), _bytes(_digest(ids))

    def advance(self) -> None:
        """Move the floor up to where it belongs, and fold what is below it into buckets."""
        if self._newest is None or self.clock is None:
            return
        # A writer whose clock is ahead must not drag the floor away from the others.
        floor = horizon = self.clock - WINDOW
        if self._newest < self.clock:
            floor = self._newest - WINDOW
        old = self.floor
        if old is not None and self.clock - self._walked < _STEP and floor - old < _STEP:
            return  # all that is known is walked through, so not for each page of a long history
        self._walked = self.clock
        self.floor = floor = floor if old is None else max(floor, old)
        folded: dict[str, list[str]] = {}
        gone: list[str] = []
        for row_id, row in self._known.items():
            if row.timestamp < floor:
                if old is None or row.timestamp >= old:
                    folded.setdefault(row.flow_run_id, []).append(row_id)
                if row.created < horizon:
                    gone.append(row_id)
        for run in self._buckets:
            self._fold_up(run, old, folded.get(run, ()))
        for row_id in gone:
            del self._known[row_id]

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
        lacking = (_digest(row.id for row in rows) - _number(bucket.digest)) % _MODULUS
        guess = [row for row in rows if self.is_new(row)]
        if len(guess) == wanted and _digest(row.id for row in guess) == lacking:
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

    # -- joining and leaving --------------------------------------------------------------------

    def join(self, other: "Ledger") -> None:
        """Take over what was told of other runs.

        Args:
            other: Their ledger, which is not to be used any more.
        """
        floor = _latest(self.floor, other.floor)
        if floor is not None:
            self.rise(floor)
            other.rise(floor)
        state = other.save()
        self._buckets |= state.buckets
        self._known |= state.known
        self._folded += other.total - other.above
        self._above += other.above
        self._newest = _latest(self._newest, state.newest)
        self.clock = _latest(self.clock, state.clock)
        self._walked = max(self._walked, state.walked)

    def leave(self, flow_run_id: str) -> "Ledger":
        """Give away what was told of a run.

        Returns:
            A ledger of that run alone.
        """
        mine = {i: row for i, row in self._known.items() if row.flow_run_id == flow_run_id}
        for row_id in mine:
            del self._known[row_id]
        buckets = {flow_run_id: self._buckets.pop(flow_run_id)}
        left = Ledger.load(msgspec.structs.replace(self.save(), known=mine, buckets=buckets))
        self._folded -= left.total - left.above
        self._above -= left.above
        return left

    def rise(self, floor: datetime) -> None:
        """Move the floor up, and fold what is below it then; what is known stays known."""
        old = self.floor
        if old is not None and floor <= old:
            return
        folded: dict[str, list[str]] = {}
        for row_id, row in self._known.items():
            if row.timestamp < floor and (old is None or row.timestamp >= old):
                folded.setdefault(row.flow_run_id, []).append(row_id)
        for run, ids in folded.items():
            self._fold_up(run, old, ids)
        self.floor = floor

    # -- saving ---------------------------------------------------------------------------------

    def save(self) -> LedgerState:
        """All of it, as it is now."""
        return LedgerState(
            known=dict(self._known),
            buckets=_copied(self._buckets),
            floor=self.floor,
            newest=self._newest,
            clock=self.clock,
            walked=self._walked,
            fill=self._fill,
            most_buckets=self._most_buckets,
        )

    @classmethod
    def load(cls, state: LedgerState) -> "Ledger":
        """A ledger that goes on where the saved one was."""
        ledger = cls(state.buckets, fill=state.fill, most_buckets=state.most_buckets)
        ledger._known = dict(state.known)
        ledger._buckets = _copied(state.buckets)
        ledger.floor, ledger._newest, ledger.clock = state.floor, state.newest, state.clock
        ledger._walked = state.walked
        ledger._folded = sum(b.count for buckets in state.buckets.values() for b in buckets)
        ledger._above = sum(
            state.floor is None or row.timestamp >= state.floor for row in state.known.values()
        )
        return ledger

    # -- remembering and folding ------------------------------------------------------------------

    def _remember(self, row: LogRow) -> None:
        self._known[row.id] = Known(row.timestamp, row.created, row.flow_run_id)
        if self._newest is None or row.timestamp > self._newest:
            self._newest = row.timestamp
        if self.clock is None or row.created > self.clock:
            self.clock = row.created

    def _fold(self, flow_run_id: str, time: datetime, ids: Sequence[str]) -> None:
        bucket = self._buckets[flow_run_id][self.bucket_at(flow_run_id, time)]
        _put(bucket, ids)
        self._folded += len(ids)

    def _fold_up(self, flow_run_id: str, start: datetime | None, ids: Sequence[str]) -> None:
        """Extend a run's last bucket up to the floor, or begin one at the old floor."""
        buckets = self._buckets[flow_run_id]
        if not ids:
            return
        if buckets[-1].count and buckets[-1].count + len(ids) > self._fill:
            buckets.append(Bucket(start))
        _put(buckets[-1], ids)
        self._folded += len(ids)
        self._above -= len(ids)
        if len(buckets) > self._most_buckets:
            self._buckets[flow_run_id] = _joined(buckets)


def _latest(a: datetime | None, b: datetime | None) -> datetime | None:
    return max((time for time in (a, b) if time is not None), default=None)


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


def _digest(ids: Iterable[str]) -> int:
    """The sum of hashes: the same for the same ids in any order."""
    return (
        sum(int.from_bytes(blake2b(row_id.encode(), digest_size=16).digest()) for row_id in ids)
        % _MODULUS
    )


def _number(digest: bytes) -> int:
    return int.from_bytes(digest)


def _bytes(number: int) -> bytes:
    return (number % _MODULUS).to_bytes(16)
