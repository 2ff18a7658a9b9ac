"""Timed subscriptions: timers of operators run in a loop, and none survives a failed subscribe."""

from typing import Any

import pytest
import reactivex as rx
from reactivex import abc
from runtime_threads import join_runtime_threads
from sample_events import entered, line

import rxflow
from rxflow.operators import in_order, rate


def test_timers_wake_a_loop_that_waits() -> None:
    """A waiting loop is woken for held events and for windows, without another thread."""
    source = rx.concat(rx.of(line(2), line(1), entered("Running", 1)), rx.never())
    held = rxflow.iterate(source.pipe(in_order(0.01)))
    assert [next(held).timestamp.second for _ in range(3)] == [1, 1, 2]
    rates = rxflow.iterate(source.pipe(rate(0.01)))
    assert [next(rates).count for _ in range(3)] == [3, 0, 0]


def test_ctrl_c_while_subscribing_leaves_no_timer() -> None:
    """An interrupt while the source is subscribed to leaves no timer on the scheduler."""

    def interrupt(_: abc.ObserverBase[Any], __: Any = None) -> abc.DisposableBase:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rx.create(interrupt).pipe(rate(0.01)).subscribe()
    join_runtime_threads()
