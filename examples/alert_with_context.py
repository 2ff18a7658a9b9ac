"""Alert on each warning and error of a flow run, with the lines before it.

    python examples/alert_with_context.py RUN_ID

Expected: 2 orders have no price
Expected:     before it: 120 orders read
"""

import sys

from reactivex import operators as ops

import rxflow

CONTEXT = 3
Lines = tuple[rxflow.FlowRunLog, ...]


def last_lines(lines: Lines, line: rxflow.FlowRunLog) -> Lines:
    """Add a line, and forget all but the last few."""
    return (*lines[-CONTEXT:], line)


def is_alarming(lines: Lines) -> bool:
    """Whether the last line is one to alert on."""
    return lines[-1].level >= 30


def main(run_id: str) -> None:
    """Print each line of level WARNING and above, and the lines before it."""
    context = rxflow.watch_flow_run(run_id).logs.pipe(ops.scan(last_lines, Lines()))
    for *before, line in context.pipe(ops.filter(is_alarming)):
        print(line.message)
        for earlier in before:
            print(f"    before it: {earlier.message}")


if __name__ == "__main__":
    main(sys.argv[1])
