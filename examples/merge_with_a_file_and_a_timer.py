"""Follow a flow run, a file and a timer in one loop, without a thread.

    python examples/merge_with_a_file_and_a_timer.py RUN_ID FILE --every 60

The file may be the log of a tool that the flow starts, or of a machine that it works on. Lines
added to it are printed between the run's events, and the timer shows that the run still goes on.

Expected: file: 120 rows loaded
Expected: still running
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import reactivex
from reactivex import Observable
from reactivex import operators as ops

import rxflow

READ_EVERY = 0.5  # seconds between two reads of the file


def added_lines(file: TextIO) -> Iterator[list[str]]:
    """Yield the lines added to a file since the last read; half a line waits for its other half."""
    rest = ""
    while True:
        *lines, rest = (rest + file.read()).split("\n")
        yield lines


def main(run_id: str, file: Path, every: float) -> None:
    """Print what happens in all three, until the run is over."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        opened.seek(0, os.SEEK_END)
        looks = added_lines(opened)
        merged: Observable[object] = reactivex.merge(
            rxflow.watch_flow_run(run_id, push=False),  # push would need a thread
            reactivex.interval(READ_EVERY).pipe(
                ops.flat_map(lambda _: reactivex.from_iterable(next(looks)))
            ),
            reactivex.interval(every),
        )
        for item in rxflow.iterate(merged):
            match item:
                case rxflow.StateChange() | rxflow.FlowRunLog() | rxflow.Notice():
                    print(f"run:  {item.message}", flush=True)
                case str():
                    print(f"file: {item}", flush=True)
                case int():
                    print(f"time: {(item + 1) * every:g} s, still running", flush=True)
                case rxflow.Closed():
                    return


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run_id")
    parser.add_argument("file", type=Path)
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS")
    try:
        main(**vars(parser.parse_args()))
    except (rxflow.RxflowError, OSError) as error:
        parser.exit(2, f"Cannot follow all of it: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)
