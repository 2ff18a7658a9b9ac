"""Journals as files: what is in them, and a system that lets no file grow."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rxflow import FlowRunEvent, decode_event


def header_of(path: Path) -> dict[str, Any]:
    """Return the first line of a journal."""
    header: dict[str, Any] = json.loads(path.read_bytes().split(b"\n")[0])
    return header


def events_in(path: Path) -> list[FlowRunEvent]:
    """Return the events in a journal, all of whose lines must be whole."""
    _, *lines, rest = path.read_bytes().split(b"\n")
    assert rest == b""
    return [decode_event(line) for line in lines]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond a number of bytes: the system takes what fits, and then no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
