"""The axis of a timeline: where its ticks are, in round steps of elapsed time."""

from datetime import datetime, timedelta

import msgspec

from rxflow._models.durations import short_duration
from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.time_bars import TimeSpan

_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400),
)
"""Seconds from one tick to the next; for more than a day, whole days."""


class Tick(msgspec.Struct, frozen=True):
    """A tick of the axis.

    Attributes:
        place: Where it is, from 0 to 1.
        label: The time since the run started.
    """

    place: float
    label: str


def zero_of(tree: RunTree, span: TimeSpan) -> datetime:
    """Return the time from which a timeline counts: when the run started, if it did."""
    start = tree.root.start
    return start if start is not None and span.start <= start < span.end else span.start


def ticks_of(span: TimeSpan, zero: datetime, most: int) -> tuple[Tick, ...]:
    """Return the ticks of an axis.

    Args:
        span: What the axis shows.
        zero: The time from which it counts; no tick is before it.
        most: The most ticks to return beside the first.
    """
    seconds = (span.end - zero).total_seconds()
    step = _step_of(seconds / most)
    count = int(seconds / step) + 1
    return tuple(_tick(span, zero, timedelta(seconds=step * number)) for number in range(count))


def _step_of(least: float) -> float:
    day = _STEPS[-1]
    days = -(-least // day) * day
    return next((step for step in _STEPS if step >= least), days)


def _tick(span: TimeSpan, zero: datetime, elapsed: timedelta) -> Tick:
    label = _label(elapsed)
    return Tick(span.place(zero + elapsed), label)


def _label(elapsed: timedelta) -> str:
    text = short_duration(elapsed) if elapsed else "0"
    return (
        text.replace(".0 s", " s").replace(" 00 s", "").replace(" 00 min", "").replace(" 00 h", "")
    )
