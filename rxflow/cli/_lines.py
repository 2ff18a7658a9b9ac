"""Events as lines of text that are safe to print on a terminal."""

import logging
import re
from collections.abc import Iterator

from rxflow import Closed, FlowRunEvent, RunChanged, Snapshot

# Control characters but newline and tab, and those that turn the direction of what follows: a log
# line must not be able to move the cursor, retitle the window or disguise itself.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_CONTINUED = "\n" + " " * 23 + "| "


def lines(event: FlowRunEvent) -> Iterator[str]:
    """Yield what a person reads of an event: one line, or none.

    Args:
        event: The event; its time is shown in local time.
    """
    if isinstance(event, RunChanged | Closed):
        return
    time = event.timestamp.astimezone().strftime("%H:%M:%S.%f")[:-3]
    level = logging.getLevelName(event.level)[:8]
    yield f"{time} {level:<8} | {safe(event.message).replace(chr(10), _CONTINUED)}"


def closing(view: Snapshot, closed: Closed) -> Iterator[str]:
    """Yield what a person reads at the end: the run as it is then."""
    path = " > ".join(state.name for state in view.states)
    proof = (
        "as many as the server counts"
        if closed.verified
        else "which the server's count does not bear"
    )
    yield f"Flow run {safe(view.run.name)!r} ({view.run.id})"
    yield f"  state      {safe(view.state.name) if view.state else 'none'}"
    yield f"  states     {safe(path)}"
    if view.task_runs:
        done = sum(task_run.is_terminal for task_run in view.task_runs)
        yield f"  task runs  {done} of {len(view.task_runs)} over"
    yield f"  log lines  {closed.log_count}, {proof}"


def safe(text: str) -> str:
    r"""Text with control and direction characters written as ``\xNN``."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
