"""Events as frames of server-sent events, numbered so that a browser goes on where it stopped.

A frame's id is the session's key and the event's number in it: every viewer of a session receives
the same events in the same order, so the number says what a browser has received. A key that is
not the session's own says that it has received nothing of this session.
"""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from rxflow.errors import RxflowError
from rxflow.events import FlowRunEvent, encode_event

_RETRY = b"retry: 1000\n\n"  # milliseconds that a browser waits before it reconnects


class Position(NamedTuple):
    """What a browser has received.

    Attributes:
        key: The key of the session that it read; empty if it read none.
        number: The number of the last event that it received.
    """

    key: str = ""
    number: int = 0

    def within(self, key: str) -> int:
        """Return how many events of a session it has received."""
        return self.number if self.key == key else 0


def position_of(last_event_id: str) -> Position:
    """Read a browser's header ``Last-Event-ID``, which is empty if it has none."""
    named = re.fullmatch(r"(\w+)-(\d{1,18})", last_event_id, re.ASCII)
    return Position(named[1], int(named[2])) if named else Position()


async def frames_of(
    pages: AsyncGenerator[Sequence[FlowRunEvent]], key: str, received: int
) -> AsyncGenerator[bytes]:
    """Yield frames for the events of a session that a browser has not received.

    A session that fails after the first frame ends with a frame of the type ``failed``.

    Args:
        pages: The events of the session, from the first on; closed at the end.
        key: The key of the session.
        received: How many events the browser has received.

    Raises:
        RxflowError: The session failed before there was a frame.
    """
    is_open = received > 0
    if is_open:
        yield _RETRY  # at once, since it may be long until the next event
    number = 0  # of events in the pages so far
    async with aclosing(pages):
        try:
            async for page in pages:
                new = page[max(0, received - number) :]
                number += len(page)
                if new:
                    yield _RETRY + _event_frames(new, key, number - len(new) + 1)
                    is_open = True
        except RxflowError as error:
            if not is_open:
                raise
            yield _failure_frame(error)


def _event_frames(events: Sequence[FlowRunEvent], key: str, first: int) -> bytes:
    return b"".join(
        b"id: %b-%d\ndata: %b\n\n" % (key.encode(), number, encode_event(event))
        for number, event in enumerate(events, start=first)
    )


def _failure_frame(error: RxflowError) -> bytes:
    return b"event: failed\ndata: %b\n\n" % json.dumps({"message": str(error)}).encode()
