"""What the report of a run shows: its tree, and the log lines of all runs in it."""

import msgspec

from rxflow._pictures.run_tree import RunTree
from rxflow.events import FlowRunLog


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a report shows.

    Attributes:
        tree: What the run started.
        lines: The log lines of all runs of the tree, by time.
        unread: How many log lines could not be read.
        unproven: The names of the runs whose log lines the server's count does not prove.
    """

    tree: RunTree
    lines: tuple[FlowRunLog, ...] = ()
    unread: int = 0
    unproven: tuple[str, ...] = ()
