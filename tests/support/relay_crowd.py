"""A program with many readers of one run on one connection to a relay's broker.

Run as ``python relay_crowd.py URL WORKSPACE RUN COUNT``. It writes a line once each reader has its
first event, and at the end a line of JSON for each sequence of events that readers have had: the
digest of the sequence, its last kind of event, and how many readers had it.
"""

import asyncio
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable

from rxflow import FlowRunEvent, Notice, encode_event
from rxflow.relay import stream


def digest_of(events: Iterable[FlowRunEvent]) -> str:
    """Return a text that only the same events in the same order have."""
    return hashlib.sha256(b"\n".join(map(encode_event, events))).hexdigest()


async def read_all(url: str, workspace: str, run_id: str, count: int) -> None:
    """Read the run by so many readers, each to its end, and write what they had."""
    begun = 0
    found: Counter[tuple[str, str]] = Counter()

    async def read() -> None:
        nonlocal begun
        events: list[FlowRunEvent] = []
        async for event in stream(url, run_id, workspace=workspace):
            if isinstance(event, Notice):  # that no relay is at work
                continue
            events.append(event)
            if len(events) == 1:
                begun += 1
                if begun == count:
                    print("ready", flush=True)  # noqa: T201 - its output
        found[digest_of(events), events[-1].kind] += 1

    await asyncio.gather(*(read() for _ in range(count)))
    for (digest, kind), readers in found.items():
        print(json.dumps([digest, kind, readers]))  # noqa: T201 - its output


if __name__ == "__main__":
    broker, logs, run, readers = sys.argv[1:]
    asyncio.run(read_all(broker, logs, run, int(readers)))
