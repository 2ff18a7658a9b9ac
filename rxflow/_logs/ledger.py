"""The ledger: which log rows of some runs were delivered, in bounded memory.

Rows around which more may still arrive are known by their ids: those not older than the *floor*,
which lags ten seconds behind the newest row and the server's clock, and *stragglers*, older rows
that were stored less than ten seconds before the newest one. Of all other rows each run keeps
*buckets*: from a time on, how many rows were delivered, and the sum of their ids as numbers, the
digest. With a bucket's rows at hand the digest shows whether exactly those were delivered, and
otherwise which ones were not.

Each log line of a run passes through here, and most arrive in order. So pages are recorded as a
whole, in columns, and rows above the floor are kept sorted, so that rising past them cuts them off
at one end.

Queries do not belong here: what to read, and what a count means, is up to the other modules.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import combinations, islice
from operator import attrgetter
from typing import TypeVar

import msgspec

from rxflow._logs.buckets import MODULUS, Bucket, digest_of, merged_in_pairs, merged_to
from rxflow._logs.kept_rows import RowsAboveFloor, Straggler, Stragglers
from rxflow._logs.row_columns import LedgerRow, LogRow, RowColumns
from rxflow._models.times import MICROSECOND, PLAUSIBLE_YEARS, Instant, later, shifted

FLOOR_LAG = timedelta(seconds=10)
"""How far the floor lags; also how long a commit may take before its row is hard to identify."""

# Below it lies the first of all times: what is below a floor can be queried.
_LOWEST_FLOOR = datetime.min.replace(tzinfo=UTC) + MICROSECOND
_MAX_COMBINATIONS = 20_000


R = TypeVar("R", bound=LogRow)

_ledger_row = attrgetter("timestamp", "created", "flow_run_id", "id")


class LedgerState(msgspec.Struct, frozen=True):
    """All of a ledger, to save and load."""

    rows_above_floor: list[LedgerRow]
    stragglers: list[Straggler]
    buckets: dict[str, list[Bucket]]
    floor: Instant | None
    newest_timestamp: Instant | None
    newest_created: Instant | None
    bucket_size: int
    max_buckets: int


class Ledger:
    """The record of the log rows of some runs that were delivered.

    Attributes:
        floor: The time below which rows are counted in buckets; None before the first row.
        newest_timestamp: The latest time of a delivered row, by its writer's clock.
        newest_created: When the newest delivered row was stored, by the server's clock.
    """

    def __init__(
        self, flow_run_ids: Iterable[str], *, bucket_size: int = 190, max_buckets: int = 4096
    ) -> None:
        """Start with no row delivered.

        Args:
            flow_run_ids: The runs.
            bucket_size: Rows of a bucket before the next one starts: a page of 200 with some room,
                so that one page reads a bucket.
            max_buckets: Buckets of a run before neighbours are merged.
        """
        self._buckets: dict[str, list[Bucket]] = {run: [Bucket(None)] for run in flow_run_ids}
        self._above_floor = RowsAboveFloor()
        self._stragglers = Stragglers()
        self._bucket_size = bucket_size
        self._max_buckets = max_buckets
        self._count_below_floor = 0
        self.floor: datetime | None = None
        self.newest_timestamp: datetime | None = None
        self.newest_created: datetime | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs."""
        return tuple(self._buckets)

    @property
    def total(self) -> int:
        """How many rows were delivered."""
        return self._count_below_floor + len(self._above_floor)

    @property
    def count_above_floor(self) -> int:
        """How many delivered rows are not older than the floor."""
        return len(self._above_floor)

    @property
    def kept_id_count(self) -> int:
        """How many ids are kept."""
        return len(self._above_floor.ids) + len(self._stragglers.ids)

    @property
    def id_horizon(self) -> datetime | None:
        """The time, by the server's clock, since which the ids of all rows stored are kept."""
        return None if self.newest_created is None else shifted(self.newest_created, -FLOOR_LAG)

    def buckets_of(self, flow_run_id: str) -> Sequence[Bucket]:
        """Return the buckets of a run, by time, without gaps up to the floor."""
        return self._buckets[flow_run_id]

    def bucket_index_at(self, flow_run_id: str, time: datetime) -> int:
        """Return the index of the bucket in which a time below the floor lies."""
        buckets = self._buckets[flow_run_id]
        return bisect_right(buckets, time, lo=1, key=lambda bucket: bucket.start or time) - 1

    def undelivered(self, rows: Iterable[R]) -> list[R]:
        """Return the rows that were not delivered; of old rows below the floor this is a guess.

        The guess is that they became visible within ten seconds of being stored, and were
        delivered then.
        """
        unknown = self._without_kept_id(rows)
        floor, horizon = self.floor, self.id_horizon
        if floor is None or horizon is None:
            return unknown
        return [row for row in unknown if row.timestamp >= floor or row.created >= horizon]

    def is_undelivered(self, row: LogRow) -> bool:
        """Whether a row was not delivered; guessed as in `undelivered`."""
        return bool(self.undelivered([row]))

    def is_known_delivered(self, row: LogRow) -> bool:
        """Whether a row was delivered and its id is still kept, so that this is no guess."""
        return not self._without_kept_id([row])

    def count_later_than(self, time: datetime) -> int:
        """Return how many delivered rows are dated later than a time, not one below the floor."""
        return self._above_floor.count_later_than(time)

    def ids_above_floor(self) -> list[str]:
        """Return the ids of all delivered rows that are not older than the floor."""
        return [row_id for _, _, _, row_id in self._above_floor]

    def runs_of(self, row_ids: Collection[str]) -> set[str]:
        """Return the runs that wrote some delivered rows which are not older than the floor."""
        wanted = set(row_ids)
        return {run for _, _, run, row_id in self._above_floor if row_id in wanted}

    def undelivered_in_bucket(
        self, flow_run_id: str, index: int, rows: Sequence[R]
    ) -> list[R] | None:
        """Return the rows of a bucket that were not delivered.

        Args:
            flow_run_id: The run.
            index: The bucket.
            rows: All rows that the server has in it.

        Returns:
            The rows; None if the digest fits no choice of them, as when delivered rows vanished.
        """
        bucket = self._buckets[flow_run_id][index]
        wanted = len(rows) - bucket.count
        if wanted < 0:
            return None
        difference = (digest_of([row.id for row in rows]) - bucket.digest_number) % MODULUS
        guess = self.undelivered(rows)
        if len(guess) == wanted and digest_of([row.id for row in guess]) == difference:
            return guess
        # A commit took longer than the guess allows. The rows that were stored last are the most
        # likely ones, so their combinations are tried first.
        numbered = [(row, digest_of([row.id])) for row in self._without_kept_id(rows)]
        numbered.sort(key=lambda pair: (pair[0].created, pair[0].id), reverse=True)
        for chosen in islice(combinations(numbered, wanted), _MAX_COMBINATIONS):
            if sum(number for _, number in chosen) % MODULUS == difference:
                return [row for row, _ in chosen]
        return None

    def record_delivered(self, rows: Iterable[LogRow]) -> None:
        """Record rows as delivered."""
        self.record_columns(RowColumns.sorted(map(_ledger_row, rows)))

    def record_columns(self, rows: RowColumns) -> None:
        """Record rows as delivered, which are sorted by time."""
        if not rows:
            return
        self._note_newest(rows)
        low = 0 if self.floor is None else bisect_left(rows.timestamps, self.floor)
        if low:
            below, rows = rows[:low], rows[low:]
            self._stragglers.add(zip(below.created, below.ids, strict=True))
            for timestamp, _, run, row_id in below:
                self._count_in_bucket(run, timestamp, [row_id])
        self._above_floor.add(rows)

    def remove_vanished(self, ids: Iterable[str]) -> None:
        """Remove rows above the floor that vanished from the server."""
        vanished = set(ids)
        if vanished:
            self._above_floor.remove(vanished)

    def replace_bucket(self, flow_run_id: str, index: int, rows: Iterable[LogRow]) -> None:
        """Record exactly these rows as the delivered ones of a bucket."""
        bucket = self._buckets[flow_run_id][index]
        delivered = RowColumns.sorted(map(_ledger_row, rows))
        if delivered:
            self._note_newest(delivered)
        # A recently stored row would count as undelivered when it is read again, so ids are kept.
        self._stragglers.add(zip(delivered.created, delivered.ids, strict=True))
        self._count_below_floor += len(delivered) - bucket.count
        bucket.replace(delivered.ids)

    def advance_floor(self, limit: datetime | None = None) -> None:
        """Raise the floor as far as the recorded rows allow, and drop ids that grew old.

        Args:
            limit: The time from which on rows are still to be read page by page, so that none of
                them can be guessed to be delivered; None if there is none.
        """
        if self.newest_timestamp is None or self.newest_created is None:
            return
        # A writer whose clock is ahead must not drag the floor away from the others.
        floor = max(
            _LOWEST_FLOOR, shifted(min(self.newest_timestamp, self.newest_created), -FLOOR_LAG)
        )
        if limit is not None:
            floor = min(floor, limit)
        horizon = shifted(self.newest_created, -FLOOR_LAG)
        self.raise_floor(floor if self.floor is None else max(floor, self.floor), horizon)
        self._stragglers.remove_before(horizon)

    def raise_floor(self, floor: datetime, horizon: datetime | None = None) -> None:
        """Raise the floor, and move the rows that it passes into buckets.

        Args:
            floor: The new floor, not below the old one.
            horizon: Drop the ids of rows that it passes and that were stored before this time.
        """
        old, self.floor = self.floor, floor
        passed = self._above_floor.remove_below(floor)
        if not passed:
            return
        if horizon is None or max(passed.created) >= horizon:
            self._stragglers.add(
                (created, row_id)
                for _, created, _, row_id in passed
                if horizon is None or created >= horizon
            )
        for run, ids in passed.ids_by_run().items():
            self._extend_last_bucket(run, old, ids)

    def join(self, other: "Ledger") -> None:
        """Take over the record of other runs.

        Args:
            other: Their ledger, which must not be used afterwards.
        """
        floor = later(self.floor, other.floor)
        if floor is not None:
            self.raise_floor(floor)
            other.raise_floor(floor)
        state = other.save()
        self._buckets |= state.buckets
        self._above_floor = RowsAboveFloor([*self._above_floor, *state.rows_above_floor])
        self._stragglers = Stragglers([*self._stragglers, *state.stragglers])
        self._count_below_floor += other.total - other.count_above_floor
        self.newest_timestamp = later(self.newest_timestamp, state.newest_timestamp)
        self.newest_created = later(self.newest_created, state.newest_created)

    def leave(self, flow_run_id: str) -> "Ledger":
        """Give up the record of a run.

        Returns:
            A ledger of that run alone.
        """
        rows = self._above_floor.remove_run(flow_run_id)
        buckets = {flow_run_id: self._buckets.pop(flow_run_id)}
        # A straggler does not say which run it belongs to, so both ledgers keep all of them until
        # they grow old.
        left = Ledger.load(
            msgspec.structs.replace(self.save(), rows_above_floor=rows, buckets=buckets)
        )
        self._count_below_floor -= left.total - left.count_above_floor
        return left

    def save(self, *, most_buckets: int | None = None) -> LedgerState:
        """Return a copy of the whole record.

        Args:
            most_buckets: Copy no more buckets of a run, but ones that hold more rows, which costs
                requests where rows arrive late; None for those that there are.
        """
        buckets = _copied(self._buckets)
        if most_buckets is not None:
            buckets = {run: merged_to(each, most_buckets) for run, each in buckets.items()}
        return LedgerState(
            rows_above_floor=list(self._above_floor),
            stragglers=list(self._stragglers),
            buckets=buckets,
            floor=self.floor,
            newest_timestamp=self.newest_timestamp,
            newest_created=self.newest_created,
            bucket_size=self._bucket_size,
            max_buckets=self._max_buckets,
        )

    @classmethod
    def load(cls, state: LedgerState) -> "Ledger":
        """Return a ledger that continues from a saved one."""
        ledger = cls(state.buckets, bucket_size=state.bucket_size, max_buckets=state.max_buckets)
        ledger._above_floor = RowsAboveFloor(state.rows_above_floor)
        ledger._stragglers = Stragglers(state.stragglers)
        ledger._buckets = _copied(state.buckets)
        ledger.floor = state.floor
        ledger.newest_timestamp = state.newest_timestamp
        ledger.newest_created = state.newest_created
        ledger._count_below_floor = sum(
            bucket.count for buckets in state.buckets.values() for bucket in buckets
        )
        return ledger

    def _without_kept_id(self, rows: Iterable[R]) -> list[R]:
        """Return the rows whose ids are not kept."""
        above_floor, stragglers = self._above_floor.ids, self._stragglers.ids
        return [row for row in rows if row.id not in above_floor and row.id not in stragglers]

    def _note_newest(self, rows: RowColumns) -> None:
        """Note how new some rows are, which are sorted."""
        self.newest_timestamp = later(self.newest_timestamp, rows.timestamps[-1])
        created = rows.created
        if max(created).year not in PLAUSIBLE_YEARS:
            # A row that was stored at another time must not move the clock for good.
            created = [time for time in created if time.year in PLAUSIBLE_YEARS]
        self.newest_created = later(self.newest_created, max(created, default=None))

    def _count_in_bucket(self, flow_run_id: str, time: datetime, ids: Sequence[str]) -> None:
        self._buckets[flow_run_id][self.bucket_index_at(flow_run_id, time)].add(ids)
        self._count_below_floor += len(ids)

    def _extend_last_bucket(
        self, flow_run_id: str, old_floor: datetime | None, ids: Sequence[str]
    ) -> None:
        """Extend a run's last bucket up to the floor, or start a new one at the old floor."""
        buckets = self._buckets[flow_run_id]
        if buckets[-1].count and buckets[-1].count + len(ids) > self._bucket_size:
            buckets.append(Bucket(old_floor))
        buckets[-1].add(ids)
        self._count_below_floor += len(ids)
        if len(buckets) > self._max_buckets:
            self._buckets[flow_run_id] = merged_in_pairs(buckets)


def _copied(buckets: dict[str, list[Bucket]]) -> dict[str, list[Bucket]]:
    return {run: [copy(bucket) for bucket in each] for run, each in buckets.items()}
