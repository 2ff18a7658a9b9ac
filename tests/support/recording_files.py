"""Recordings as files: their lines, and events that came at known seconds."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from rxflow import FlowRunEvent, encode_event

HEADER = b'{"rxflow_recording":1,"started":"2026-11-22T02:00:00Z"}\n'
"""The first line of a recording."""


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a recording, all of which must be whole."""
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    *lines, rest = data.split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def line_of(at: float, event: FlowRunEvent) -> bytes:
    """Return the line of an event."""
    return b'{"at":%s,"event":%s}\n' % (json.dumps(at).encode(), encode_event(event))


def timed(
    events: Iterable[tuple[float, FlowRunEvent]],
    *,
    ends_at: float,
    error: Exception | None = None,
) -> Observable[FlowRunEvent]:
    """Return an observable that emits events at seconds after its subscription, and then ends."""

    def subscribe(
        observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        actions = CompositeDisposable()
        for at, event in events:
            actions.add(
                scheduler.schedule_relative(at, lambda *_, event=event: observer.on_next(event))
            )
        end = observer.on_completed if error is None else lambda: observer.on_error(error)
        actions.add(scheduler.schedule_relative(ends_at, lambda *_: end()))
        return actions

    return Observable(subscribe)
