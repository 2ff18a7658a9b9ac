"""Find zombies: flow runs in state Running without a sign of life.

    python examples/find_zombies.py --silence 600

A run whose machine was switched off stays in state Running for ever, since no process is left to
report its end. The sign is absence: no state, no log line and no task run for ten minutes. The
search takes twice as long as that; the exit status is 1 if it found a run.

Expected: No event of flow run
"""

import argparse
import sys

import httpx
import reactivex
from reactivex import operators as ops

import rxflow
from rxflow.operators import quiet_for


def running(api_url: str) -> list[str]:
    """Read the ids of the running runs from Prefect's API."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    response = httpx.post(f"{api_url}/flow_runs/filter", json=wanted, timeout=30)
    return [run["id"] for run in response.raise_for_status().json()]


def main(silence: float) -> int:
    """Print each run that is silent for so many seconds, and return the exit status."""
    with rxflow.Client() as client:
        watches = [
            rxflow.watch_flow_run(run_id, stream_tasks=True, max_duration=None, client=client)
            for run_id in running(client.api_url)
        ]
        print(f"Listening to {len(watches)} running flow runs", flush=True)
        # By then each run was silent for that long, or had an event in the second half.
        over = reactivex.timer(2 * silence)
        zombies = reactivex.merge(*watches).pipe(quiet_for(silence, client), ops.take_until(over))
        status = 0
        for zombie in rxflow.iterate(zombies):
            print(f"{zombie.message}: {zombie.flow_run_id}", flush=True)
            status = 1
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--silence", type=float, default=600.0, metavar="SECONDS")
    try:
        sys.exit(main(**vars(parser.parse_args())))
    except (rxflow.RxflowError, httpx.HTTPError) as error:
        parser.exit(2, f"Cannot listen: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)
