"""The calls of `ack` of a stream, and the watch that they are for.

A stream is cold, and its subscriptions have one checkpoint, which one of them at a time has open.
So a call is for the subscription that opened it last, which may have ended meanwhile.
"""

from collections.abc import Callable

from rxflow._models.arguments import check_type
from rxflow._models.event import Event
from rxflow.events import FlowRunEvent

Acknowledge = Callable[[FlowRunEvent], None]
"""Acknowledges the events of one watch up to one, which is included."""


class ManualAcks:
    """Passes the calls of `ack` of one stream on."""

    def __init__(self) -> None:
        """Start without a watch."""
        self._acknowledge: Acknowledge | None = None

    def pass_to(self, acknowledge: Acknowledge) -> None:
        """Pass calls to this from now on."""
        self._acknowledge = acknowledge

    def ack(self, event: FlowRunEvent) -> None:
        """Acknowledge the events up to one, which is included. Callable from any thread.

        Raises:
            TypeError: It is not an event.
            ValueError: It was not handed on.
            CheckpointFailed: The watch has ended, and the checkpoint cannot be written.
            WatchInherited: The watch is that of the process from which this one was forked.
        """
        check_type("event", event, Event, "the event up to which all are acknowledged")
        if self._acknowledge is None:
            raise ValueError(
                "This stream has handed on no event; call ack() of the same stream that is "
                "iterated or subscribed to, with an event of it"
            )
        self._acknowledge(event)
