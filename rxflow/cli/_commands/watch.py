"""``rxflow watch``: show the states and log lines of a run until it is over."""

import logging
import sys

import click

import rxflow
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error

_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@click.command("watch")
@click.argument("run_id")
@click.option(
    "--level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Omit log lines below this level.",
)
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@exit_on_error()
@connection_options
def command(client: "rxflow.Client", run_id: str, level: str | None, tasks: bool) -> None:
    """Show the states and log lines of the flow run RUN_ID until it is over."""
    from rxflow.cli._display import PlainDisplay  # noqa: PLC0415 - needs msgspec
    from rxflow.cli._follow import follow  # noqa: PLC0415 - the same
    from rxflow.cli._lines import Transcript  # noqa: PLC0415 - the same

    lowest = level.upper() if level else None
    stream = rxflow.watch_flow_run(
        run_id,
        stream_tasks=tasks,
        max_duration=None,
        level=logging.getLevelNamesMapping()[lowest] if lowest else 0,
        client=client,
    )
    sys.exit(follow(stream, PlainDisplay(Transcript(), lowest)))
