"""Start a run of a deployment in a CI job, follow it, and exit by its outcome.

    python examples/follow_deployment.py FLOW/DEPLOYMENT

The exit status is 0 if the run completed, 1 if it ended otherwise, 2 if it cannot be started or
followed. rxflow only watches, so the run is started by two requests to Prefect's API. They carry no
key: where the server requires one, pass it to httpx too.

Expected: Started flow run
Expected: Entered state Completed
"""

import argparse
import logging
import sys

import httpx

import rxflow


def start(api_url: str, deployment: str) -> str:
    """Create a run of a deployment, as Prefect's own "Quick run" does, and return its id."""
    with httpx.Client(base_url=api_url, timeout=30) as api:
        found = api.get(f"/deployments/name/{deployment}")
        if found.status_code == httpx.codes.NOT_FOUND:
            raise LookupError(f"there is no deployment {deployment!r} on {api_url}")
        deployment_id = found.raise_for_status().json()["id"]
        created = api.post(f"/deployments/{deployment_id}/create_flow_run", json={})
        return str(created.raise_for_status().json()["id"])


def main(deployment: str) -> int:
    """Print what happens, and return the exit status."""
    with rxflow.Client() as client:
        run_id = start(client.api_url, deployment)
        print(f"Started flow run {run_id}", flush=True)
        for event in rxflow.watch_flow_run(run_id, client=client):
            # What keeps a run from starting, such as a pool without workers, is a warning.
            if event.level >= logging.INFO:
                print(f"{event.timestamp:%H:%M:%S} {event.message}", flush=True)
            if isinstance(event, rxflow.Closed) and event.state is not None:
                return 0 if event.state.is_completed else 1
    return 1  # it was deleted


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("deployment", metavar="FLOW/DEPLOYMENT")
    try:
        sys.exit(main(**vars(parser.parse_args())))
    except (rxflow.RxflowError, httpx.HTTPError, LookupError) as error:
        parser.exit(2, f"Cannot run the deployment: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted; a run that was started goes on.\n")
