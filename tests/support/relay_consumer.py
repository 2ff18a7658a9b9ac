"""A program that reads a run from a relay's log and keeps each event, with its position, in a file.

Killed and started again it goes on after the last event in the file, so that the file has what one
reader would get that is never killed. Run as ``python relay_consumer.py URL WORKSPACE RUN FILE``.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from rxflow import encode_event
from rxflow.relay import stream


def kept(path: Path) -> list[tuple[str, bytes]]:
    """Return the positions and events in a file; a line that a kill has torn is none of them."""
    found: list[tuple[str, bytes]] = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                position, _, event = line.rstrip(b"\n").partition(b" ")
                found.append((position.decode(), event))
    return found


def consume(url: str, workspace: str, run_id: str, path: Path) -> None:
    """Read the run to its end, and append each event to the file."""
    before = kept(path)
    whole = sum(len(position) + len(event) + 2 for position, event in before)
    if path.exists():
        os.truncate(path, whole)
    reading = stream(url, run_id, workspace=workspace, after=before[-1][0] if before else None)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for event in reading:
        if json.loads(encode_event(event))["kind"] == "notice":  # those of the reader's own
            continue
        os.write(file, f"{reading.position} ".encode() + encode_event(event) + b"\n")


if __name__ == "__main__":
    broker, logs, run, file = sys.argv[1:]
    consume(broker, logs, run, Path(file))
