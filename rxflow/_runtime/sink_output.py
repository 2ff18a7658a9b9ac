"""The observable that a sink returns, so that its end can be recognised as one of a sink.

The sinks themselves are in `rxflow.sinks`.
"""

from typing import TypeVar

from reactivex import Observable

T = TypeVar("T")


class SinkOutput(Observable[T]):
    """The items that a sink has written, each passed on after that."""
