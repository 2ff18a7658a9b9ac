"""``rxflow logs``: show the log lines of runs, and nothing else."""

import sys

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import Selection, select_runs, selection_options
from rxflow.cli._show_options import FollowOptions, ShowOptions, follow_options, show_options
from rxflow.cli._times import check_is_past, check_order

_OF_FOLLOWING = ("no_push", "no_hold", "cancel_on_interrupt", "exit_zero", "journal")


@click.command("logs", cls=Command)
@selection_options
@click.option("-f", "--follow", is_flag=True, help="Follow the runs until they are over.")
@show_options
@follow_options
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    selection: Selection,
    show: ShowOptions,
    following: FollowOptions,
    follow: bool,
) -> None:
    """Show the log lines of runs: those that there are, or with -f all until the runs are over.

    RUN and the filters are as for rxflow watch.

    \b
    Examples:
      rxflow logs @latest --level error
      rxflow logs amber-fox -f --tail 20
      rxflow logs --flow etl --since 1d -i 'timed? out' -o raw
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._following import Scope, follow_runs  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._stored_lines import show_stored_lines  # noqa: PLC0415 - the same

    check_order(selection.since, show.until)
    if not follow:
        check_is_past(selection.since)
        values = click.get_current_context().params
        for name in _OF_FOLLOWING:
            if values[name]:
                option = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{option} is about following; pass -f as well.")
    runs = select_runs(selection, client)
    scope = Scope(only_logs=True, children=selection.children)
    if follow:
        sys.exit(follow_runs(runs, client, show, following, scope))
    show_stored_lines(runs, client, show, scope, following.timeout)
