"""Follow a flow run in a CI job and exit by its outcome.

    python examples/follow_and_exit.py RUN_ID

The exit status is 0 if the run completed, 1 if it ended otherwise, 2 if it cannot be followed.

Expected: Entered state Completed
"""

import argparse
import logging
import sys

import rxflow


def main(run_id: str) -> int:
    """Print what happens, and return the exit status."""
    for event in rxflow.watch_flow_run(run_id):
        if event.level >= logging.INFO:
            print(f"{event.timestamp:%H:%M:%S} {event.message}", flush=True)
        if isinstance(event, rxflow.Closed) and event.state is not None:
            return 0 if event.state.is_completed else 1
    return 1  # it was deleted


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run_id")
    try:
        sys.exit(main(**vars(parser.parse_args())))
    except rxflow.RxflowError as error:
        parser.exit(2, f"Cannot follow the run: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted; the run itself goes on.\n")
