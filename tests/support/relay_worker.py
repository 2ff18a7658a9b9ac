"""A program that takes events as a member of a group, and writes each into a file of its own.

Killed, it leaves the page that it is at work on to other members. Run as ``python relay_worker.py
URL WORKSPACE GROUP SECONDS FILE COUNT``, where SECONDS is after how long others get its page, and
COUNT after how many events it stands still; 0 for never.
"""

import os
import sys
from pathlib import Path

from rxflow import Notice
from rxflow.relay import GroupStream, consume


def handled(path: Path) -> list[str]:
    """Return the messages in a file, without a line that a kill has torn."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line.decode().rstrip("\n") for line in lines if line.endswith(b"\n")]


def work(events: GroupStream, path: Path, most: int) -> None:
    """Append the message of each event to the file; stand still after some of them."""
    count = 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for event in events:
        if not isinstance(event, Notice):
            os.write(file, f"{event.message}\n".encode())
            count += 1
            if count == most:
                sys.stdin.read()


if __name__ == "__main__":
    broker, logs, name, idle, out, limit = sys.argv[1:]
    member = consume(broker, name, workspace=logs, redeliver_after=float(idle))
    work(member, Path(out), int(limit))
