"""``rxflow wait``: wait until runs are over."""

import sys

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import (
    RUNS_ARGUMENT,
    NoRunNamed,
    Selection,
    filter_options,
    select_runs,
)
from rxflow.cli._time_limit import TimeLimit, read_time_limit

EXAMPLES = (
    "\b\nExamples:\n"
    "  rxflow wait @latest:nightly-report/prod --timeout 30m\n"
    "  rxflow wait --tag release --state running && ./deploy\n"
    "  rxflow runs --since 1h -q | rxflow wait -\n"
)


@click.command("wait", cls=Command, epilog=EXAMPLES)
@RUNS_ARGUMENT
@filter_options
@click.option(
    "--timeout", type=read_time_limit, metavar="DURATION", help="Stop waiting after this time."
)
@click.option("-q", "--quiet", is_flag=True, help="Write nothing; the exit status says it.")
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client", selection: Selection, timeout: TimeLimit | None, quiet: bool
) -> None:
    """Wait until runs are over, and write a line of each when it is.

    A line has the run's id, its state, its duration and its name. The exit status is that of the
    worst run. Log lines are not read.
    """
    from rxflow.cli._waiting import wait_for_runs  # noqa: PLC0415 - needs reactivex

    if selection.words and selection.since is not None:
        raise click.UsageError("--since is a filter; runs and filters are both given.")
    try:
        runs = select_runs(selection, client)
    except NoRunNamed:
        if not quiet:
            raise
        return
    sys.exit(wait_for_runs(runs, timeout, client, quiet=quiet))
