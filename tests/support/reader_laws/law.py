"""What a law is, and what it demands of each event."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import rxflow
from rxflow import FlowRunEvent, decode_event, encode_event


class Law(NamedTuple):
    """The law of one reader.

    Attributes:
        name: The reader, for people.
        check: Given some bytes, reads them; raises if the law is broken.
        seeds: Returns bytes that the reader can read, to begin with.
    """

    name: str
    check: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


def check_event(event: FlowRunEvent) -> None:
    """Use an event as consumers do, and encode it and read it again, equal."""
    assert event.timestamp.tzinfo is not None
    assert isinstance(event.message, str)
    assert isinstance(event.level, int)
    str(event)
    rxflow.to_dict(event)
    assert decode_event(encode_event(event)) == event
