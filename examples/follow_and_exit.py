"""Follow a flow run in a CI job and exit by its outcome.

    python examples/follow_and_exit.py RUN_ID

Expected: Entered state Completed
"""

import sys

import rxflow


def main(run_id: str) -> int:
    """Print what happens, and return the exit status."""
    for event in rxflow.watch_flow_run(run_id):
        if event.level >= 20:
            print(f"{event.timestamp:%H:%M:%S} {event.message}")
        if isinstance(event, rxflow.Closed):
            return 0 if event.state is not None and event.state.is_completed else 1
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
