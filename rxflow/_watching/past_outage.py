"""An outage that an earlier watch noticed, as far as its notices say when it was.

Writers get time after it to send what they could not send; how much is decided in `lifecycle`.
"""

from datetime import timedelta

import msgspec

from rxflow._models.times import Instant, Now, shifted
from rxflow._protocol.retry import Outage
from rxflow._watching.outage_tracker import DEGRADED_AFTER
from rxflow.events import Notice, NoticeCode


class PastOutage(msgspec.Struct, frozen=True):
    """An outage that an earlier watch noticed.

    Attributes:
        began: By that watcher's clock.
        ended: The same; None if it had not ended.
    """

    began: Instant
    ended: Instant | None = None

    def seen_at(self, now: Now) -> Outage:
        """Return it in monotonic seconds; one that had not ended has ended now."""
        ended = now.utc if self.ended is None else min(self.ended, now.utc)
        return Outage(
            began=now.mono - max(0.0, (now.utc - self.began).total_seconds()),
            ended=now.mono - (now.utc - ended).total_seconds(),
        )


def outage_after(known: PastOutage | None, notice: Notice) -> PastOutage | None:
    """Return the last outage that is known after a notice."""
    match notice.code:
        case NoticeCode.DEGRADED:
            return PastOutage(shifted(notice.timestamp, -timedelta(seconds=DEGRADED_AFTER)))
        case NoticeCode.RECOVERED if known is not None:
            return PastOutage(known.began, notice.timestamp)
        case _:
            return known
