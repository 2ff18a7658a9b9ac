"""What one poll of the cursor found."""

from datetime import datetime
from operator import attrgetter

import msgspec

from rxflow._logs.row_columns import RowColumns
from rxflow._logs.table_reader import ReplacedBucket
from rxflow._models.times import PLAUSIBLE_YEARS, earlier
from rxflow._protocol.pages import MalformedRow
from rxflow.events import FlowRunLog

LOG_ORDER = attrgetter("timestamp", "created", "id")
"""The sort key of delivered rows."""


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found; the cursor's state changes only once it is committed.

    Attributes:
        rows: Undelivered rows, in `LOG_ORDER`. Those that may have been delivered, since others
            vanished, are flagged ``replayed``.
        columns: The same rows for the ledger, if the poll has them in columns.
        malformed: Undelivered rows that cannot be read, in the same order.
        backfill_position: While a history is read page by page, where its next page begins; None
            once it was read to its end.
        backfill_began: The server's time when the first page of that history was read.
        unsettled_from: The earliest time of rows of that history which were left to later polls.
        proven: Whether the delivered rows and these are all that the server had when the poll
            began, or at a later instant.
        provable: Whether the server takes the offsets that a proof needs.
        rewound: Whether delivered rows vanished.
        vanished_ids: Ids of rows above the floor that vanished.
        replaced_buckets: Buckets from which rows vanished.
        table_shrank: Whether a reply had fewer rows than were delivered, or lacked rows of an
            earlier reply; nothing was found then.
        audit_failed: Whether delivered rows were not there when all rows were read once more;
            None if that was not done. Nothing was found if it failed.
        server_time: The server's time at its last reply; None if nothing was found because the
            table shrank or the audit failed.
    """

    rows: tuple[FlowRunLog, ...] = ()
    columns: RowColumns | None = None
    malformed: tuple[MalformedRow, ...] = ()
    backfill_position: datetime | None = None
    backfill_began: datetime | None = None
    unsettled_from: datetime | None = None
    proven: bool = False
    provable: bool = True
    rewound: bool = False
    vanished_ids: tuple[str, ...] = ()
    replaced_buckets: tuple[ReplacedBucket, ...] = ()
    table_shrank: bool = False
    audit_failed: bool | None = None
    server_time: datetime | None = None

    @property
    def unread_from(self) -> datetime | None:
        """The time before which all rows were delivered or are here; None if that are all."""
        return earlier(self.backfill_position, self.unsettled_from)


def newest_created(read: LogRead) -> datetime | None:
    """Return when the newest row of a read was stored, by the server's clock; None without rows."""
    rows: tuple[FlowRunLog | MalformedRow, ...] = (*read.rows, *read.malformed)
    return max((row.created for row in rows if row.created.year in PLAUSIBLE_YEARS), default=None)
