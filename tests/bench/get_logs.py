"""Measure a line of `FlowRunView.get_logs`, beside a watch of the same run.

``python tests/bench/get_logs.py`` (or ``tox -e bench``) reads ended runs of 1,000, 10,000 and
100,000 lines, from the server of `lines.py` in this process. Only figures of one run are compared;
each is the least CPU time of several rounds, in which the candidates take turns. `README.md` beside
this file keeps the results.
"""

import gc
import platform
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).parent))

from lines import MIB, PAGE, RUN_ID, URL, Lines

from rxflow import Client, FlowRunLog, FlowRunView, watch_flow_run

READS_A_ROUND = {1_000: 10, 10_000: 3, 100_000: 1}
"""How often a run is read in a round, by its lines."""
ROUNDS = 3
GOAL_RATIO = 1.0

Read = Callable[[Client], int]


def watch(client: Client) -> int:
    """Watch the run, keep nothing, and count its lines."""
    return sum(isinstance(event, FlowRunLog) for event in watch_flow_run(RUN_ID, client=client))


def watch_kept(client: Client) -> int:
    """Watch the run, and keep its lines."""
    events = watch_flow_run(RUN_ID, client=client)
    return len([event for event in events if isinstance(event, FlowRunLog)])


def get_logs(client: Client) -> int:
    """Read its lines at once."""
    return len(FlowRunView.from_flow_run_id(RUN_ID, client=client).get_logs())


READS: tuple[Read, ...] = (watch, watch_kept, get_logs)


def cpu(read: Read, client: Client, lines: int) -> float:
    """CPU seconds a line, of the reads of a round."""
    count = READS_A_ROUND[lines]
    gc.collect()
    began = process_time()
    for _ in range(count):
        read_lines = read(client)
        assert read_lines == lines, read_lines
    return (process_time() - began) / count / lines


def memory(client: Client, lines: int) -> tuple[float, float]:
    """Bytes a line that the list of all lines takes, and at the peak of its reading."""
    view = FlowRunView.from_flow_run_id(RUN_ID, client=client)
    view.get_logs()  # what is made once is not counted
    gc.collect()
    tracemalloc.start()
    kept = view.get_logs()
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == lines, len(kept)
    return size / lines, peak / lines


def report() -> Iterator[str]:
    """Measure, and yield the report line by line."""
    names = ("rxflow-prefect", "httpx", "msgspec", "reactivex")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"pages of {PAGE}, in this process; Python {platform.python_version()}, {versions}"
    for lines in READS_A_ROUND:
        client = Client(api_url=URL, transport=Lines(zipped=False, count=lines))
        for read in READS:
            cpu(read, client, lines)  # warm up
        rounds = [[cpu(read, client, lines) for read in READS] for _ in range(ROUNDS)]
        spent = dict(zip(READS, map(min, zip(*rounds, strict=True)), strict=True))
        yield f"\n{lines:,} lines: CPU of the reader, best of {ROUNDS}; beside watch"
        for read, seconds in spent.items():
            ratio = seconds / spent[watch]
            yield f"  {read.__name__:16}{seconds * 1e6:7.2f} us a line{ratio:7.2f} x"
        size, peak = memory(client, lines)
        yield f"  memory of get_logs: {size:.0f} bytes a line kept, {peak:.0f} at its peak"
        yield f"  together {size * lines / MIB:.2f} MiB, and {peak * lines / MIB:.2f} MiB"
    yield f"\nGoal of get_logs beside watch: at most {GOAL_RATIO:g} x"


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
