"""Compare what a recording has of a run with what the server has of it now.

Rows are the same if their ids are. A row that the recording does not have came after the end if it
is later than the recorded `Closed`; else it is missing.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunView,
    InvalidRecording,
    StateChange,
    encode_event,
)
from rxflow._escapes import one_line
from rxflow._logs.full_read import read_all_logs
from rxflow.cli._recorded_events import recorded_events

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["Audit", "Difference", "Row", "audit_of", "compared"]

Row = StateChange | FlowRunLog
"""What is compared."""

Kind = Literal["after", "missing", "vanished"]

_TITLES: Mapping[Kind, str] = {
    "after": "came after the end",
    "missing": "missing from the recording",
    "vanished": "vanished from the server",
}


class Difference(NamedTuple):
    """A row that only one of the two has.

    Attributes:
        kind: ``after`` and ``missing`` for one of the server's, ``vanished`` for one recorded.
        row: The row.
    """

    kind: Kind
    row: Row


class Audit(NamedTuple):
    """The result of a comparison.

    Attributes:
        states: How many state changes both have.
        lines: How many log lines both have.
        differences: What only one of them has, by time.
        is_proven: Whether the server's count proves that all its log lines were read.
        unread: How many log lines of the server could not be read.
    """

    states: int
    lines: int
    differences: tuple[Difference, ...]
    is_proven: bool = True
    unread: int = 0

    def text(self) -> Iterator[str]:
        """Yield lines for people: how many rows agree, and each one that does not."""
        for title, kind, agreeing in (
            ("log lines", FlowRunLog, self.lines),
            ("states", StateChange, self.states),
        ):
            counts = [f"{agreeing} agree"]
            for each, words in _TITLES.items():
                found = [
                    found
                    for found in self.differences
                    if found.kind == each and type(found.row) is kind
                ]
                if found:
                    counts.append(f"{len(found)} {words}")
            yield f"{title:<10} {', '.join(counts)}"
        for difference in self.differences:
            yield f"{difference.kind:<10} {one_line(str(difference.row))}"
        if not self.is_proven:
            yield "doubt      the server's count of log lines could not be confirmed"
        if self.unread:
            rows = "1 row" if self.unread == 1 else f"{self.unread} rows"
            yield f"doubt      {rows} of the server could not be read"

    def json_lines(self) -> Iterator[str]:
        """Yield JSON: each row that does not agree, and at last the counts."""
        for kind, row in self.differences:
            yield f'{{"difference":"{kind}","event":{encode_event(row).decode()}}}'
        counts = {"states": self.states, "lines": self.lines}
        last = {
            "agree": counts,
            "differ": len(self.differences),
            "verified": self.is_proven and not self.unread,
        }
        yield msgspec.json.encode(last).decode()


def audit_of(
    flow_run_id: str, path: str, client: "Client", *, level: int, since: datetime | None
) -> Audit:
    """Compare a recording, or a journal, with the server.

    Args:
        flow_run_id: The run.
        path: The file.
        client: The client of the server.
        level: Only log lines of this level and above are compared.
        since: Only log lines of this time and later; None for all.

    Raises:
        InvalidRecording: The file has nothing of the run, or cannot be replayed.
        RxflowError: The server has no such run, or cannot be read from.
    """
    recorded: dict[str, Row] = {}
    closed: datetime | None = None
    others: dict[str, None] = {}
    for event in recorded_events(path):
        if event.flow_run_id != flow_run_id:
            others[event.flow_run_id] = None
        elif isinstance(event, Closed):
            closed = event.timestamp
        elif isinstance(event, Row):
            recorded[event.id] = event
    if not recorded and closed is None:
        named = ", ".join(run for run in [*others][:3] if run) or "no run"
        raise InvalidRecording(
            f"The file {path!r} has nothing of flow run {flow_run_id}; it is about {named}"
        )
    view = FlowRunView.from_flow_run_id(flow_run_id, client=client)
    states = (
        StateChange(flow_run_id=flow_run_id, id=state.id, state=state) for state in view.states
    )
    read = client.read(partial(read_all_logs, flow_run_id, since))
    stored: tuple[Row, ...] = (*states, *read.rows)
    audit = compared(
        _selected(recorded.values(), level, since), _selected(stored, level, since), closed
    )
    return audit._replace(is_proven=read.proven, unread=len(read.malformed))


def _selected(rows: Iterable[Row], level: int, since: datetime | None) -> list[Row]:
    return [
        row
        for row in rows
        if isinstance(row, StateChange)
        or (row.level >= level and (since is None or row.timestamp >= since))
    ]


def compared(recorded: Iterable[Row], stored: Iterable[Row], closed: datetime | None) -> Audit:
    """Compare rows of a recording with those of a server.

    Args:
        recorded: Those of the recording.
        stored: Those of the server.
        closed: When the watch that was recorded ended; None if it did not.
    """
    known = {row.id: row for row in recorded}
    agreeing = [0, 0]
    differences: list[Difference] = []
    for row in stored:
        if known.pop(row.id, None) is not None:
            agreeing[isinstance(row, FlowRunLog)] += 1
        else:
            is_after = closed is not None and _stored_at(row) > closed
            differences.append(Difference("after" if is_after else "missing", row))
    differences += [Difference("vanished", row) for row in known.values()]
    differences.sort(key=lambda found: found.row.timestamp)
    return Audit(agreeing[0], agreeing[1], tuple(differences))


def _stored_at(row: FlowRunEvent) -> datetime:
    """Return the server's time of a row, which `Closed` has as well."""
    return row.created if isinstance(row, FlowRunLog) else row.timestamp
