"""What a relay has done and is doing, for people and monitors.

Written by the watch's thread and by the event loop, each field by one of them.
"""

import msgspec


class Figures(msgspec.Struct):
    """The figures of one relay; times are in monotonic seconds, -inf for never.

    Attributes:
        pages: How many pages were appended.
        events: How many events were appended.
        fenced: How often a page was refused, since another relay had appended to the log.
        dropped: How many logs were dropped.
        polled_at: When Prefect's server last gave a good reply.
        appended_at: When a page was last stored.
        heard_at: When the broker last said who holds the leases.
        polls_since: Since when there is something to read from Prefect's server; inf for nothing.
        foreign_shards: Into how many shards other relays divide the runs, if not into as many.
        runs: How many runs are watched.
        shards: How many shards this relay watches.
        leases: How many leases it holds.
    """

    pages: int = 0
    events: int = 0
    fenced: int = 0
    dropped: int = 0
    polled_at: float = float("-inf")
    appended_at: float = float("-inf")
    heard_at: float = float("-inf")
    polls_since: float = float("inf")
    foreign_shards: str = ""
    runs: int = 0
    shards: int = 0
    leases: int = 0
