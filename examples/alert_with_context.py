"""Alert on the errors of a flow run, with the 20 lines before them.

    python examples/alert_with_context.py RUN_ID

A burst of errors is one alert: it is sent after two seconds without a further error, for the last
of them. A run that failed or crashed is an error too.

Expected: ALERT: the mail was not sent
Expected: 2 orders have no price
"""

import argparse
import logging

from reactivex import operators as ops

import rxflow
from rxflow.operators import level_at_least, matching, tail

CONTEXT = 20  # lines
BURST = 2.0  # seconds

Events = tuple[rxflow.FlowRunEvent, ...]


def is_alarming(events: Events) -> bool:
    """Whether the last event is one to alert on."""
    return events[-1].level >= logging.ERROR


def send(events: Events) -> None:
    """Send an alert; replace this by your pager or chat."""
    *before, error = events
    print(f"ALERT: {error.message}", flush=True)
    for event in before:
        print(f"    {event.timestamp:%H:%M:%S} {event.message}", flush=True)


def main(run_id: str) -> None:
    """Send an alert for each burst of errors, until the run is over."""
    alerts = rxflow.watch_flow_run(run_id).pipe(
        level_at_least("INFO"),
        matching(r"\S"),  # no empty lines in the context
        tail(CONTEXT + 1),
        ops.filter(is_alarming),
        ops.debounce(BURST),
    )
    for events in alerts:
        send(events)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run_id")
    try:
        main(**vars(parser.parse_args()))
    except rxflow.RxflowError as error:
        parser.exit(2, f"Cannot watch the run: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)
