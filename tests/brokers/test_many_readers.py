"""Very many readers of one run at once, in several processes."""

import json
import subprocess
import sys
from contextlib import ExitStack

import relay_crowd
from broker_logs import completed, opened
from broker_servers import BrokerServer
from command_line import LIMIT, environment
from sample_events import RUN, closed, line

from rxflow import FlowRunEvent
from rxflow.relay._pages import pages_of

PROCESSES = 4
READERS = {"nats": 250, "redis": 50}  # of each; on Redis each one has a connection while it waits
BEFORE, LATER = 10, 30  # lines that are there when they come, and that are appended then
PAGE = 5  # lines


def test_many_readers_have_the_same_sequence(server: BrokerServer, workspace: str) -> None:
    """A thousand, of NATS: each has all events, later ones as they come, and ends with `Closed`."""
    readers = READERS[server.scheme]
    events: list[FlowRunEvent] = [*map(line, range(BEFORE + LATER)), closed(BEFORE + LATER)]
    end, previous_id = 0, ""

    async def append(start: int, stop: int) -> None:
        nonlocal end, previous_id
        async with opened(server, workspace) as broker:
            for first in range(start, stop, PAGE):
                some = events[first : min(first + PAGE, stop)]
                for page in pages_of(some, first=first, previous_id=previous_id):
                    end = await broker.append(RUN, page, after=end)
                    previous_id = page.page_id

    completed(lambda: append(0, BEFORE))
    with ExitStack() as stack:
        command = [sys.executable, relay_crowd.__file__, server.url(), workspace, RUN, str(readers)]
        crowds = [
            stack.enter_context(
                subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
            )
            for _ in range(PROCESSES)
        ]
        for crowd in crowds:
            stack.callback(crowd.kill)
        for crowd in crowds:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "ready\n"
        completed(lambda: append(BEFORE, len(events)))
        found = [crowd.communicate(timeout=LIMIT)[0].splitlines() for crowd in crowds]
    whole = [relay_crowd.digest_of(events), "closed", readers]
    assert [list(map(json.loads, lines)) for lines in found] == [[whole]] * PROCESSES
