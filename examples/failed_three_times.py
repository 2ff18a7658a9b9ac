"""Check whether the runs of a flow failed three times within an hour.

    python examples/failed_three_times.py FLOW

Reads the histories of the flow's last 100 failed runs and slides a window over their failures, in
the order of time. The exit status is 1 if there were three in one hour, which a cron job can mail.

Expected: 3 failures within 1:00:00
"""

import argparse
import sys
from datetime import timedelta

import httpx
import reactivex
from reactivex import operators as ops

import rxflow
from rxflow.operators import in_order, level_at_least, only

TIMES = 3
WINDOW = timedelta(hours=1)
HISTORY = timedelta(days=365)  # comes run by run, so all of it is held back

Failures = tuple[rxflow.StateChange, ...]


def failed_runs(api_url: str, flow: str) -> list[str]:
    """Read the ids of runs from Prefect's API; rxflow watches runs by id."""
    wanted = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": ["FAILED", "CRASHED"]}}},
        "sort": "END_TIME_DESC",
        "limit": 100,
    }
    response = httpx.post(f"{api_url}/flow_runs/filter", json=wanted, timeout=30)
    return [run["id"] for run in response.raise_for_status().json()]


def slide(window: Failures, failure: rxflow.StateChange) -> Failures:
    """Add a failure to the window, and drop those that are too old."""
    since = failure.timestamp - WINDOW
    return (*(earlier for earlier in window if earlier.timestamp > since), failure)


def is_alarming(window: Failures) -> bool:
    """Whether there are too many failures in a window."""
    return len(window) >= TIMES


def main(flow: str) -> int:
    """Print each time that it was the third failure or more, and return the exit status."""
    with rxflow.Client() as client:
        histories = [
            rxflow.watch_flow_run(run_id, stream_logs=False, client=client)
            for run_id in failed_runs(client.api_url, flow)
        ]
        windows = reactivex.from_iterable(histories).pipe(
            ops.merge(max_concurrent=8),
            only(rxflow.StateChange),
            level_at_least("ERROR"),  # Failed and Crashed
            in_order(HISTORY),
            ops.scan(slide, Failures()),
            ops.filter(is_alarming),
        )
        status = 0
        for window in rxflow.iterate(windows):
            times = ", ".join(f"{failure.timestamp:%H:%M}" for failure in window)
            print(f"{len(window)} failures within {WINDOW}: {window[-1].timestamp:%F}, {times}")
            status = 1
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("flow")
    try:
        sys.exit(main(**vars(parser.parse_args())))
    except (rxflow.RxflowError, httpx.HTTPError) as error:
        parser.exit(2, f"Cannot read the history: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)
