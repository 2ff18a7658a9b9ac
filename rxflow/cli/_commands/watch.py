"""``rxflow watch``: show the states and log lines of runs until they are over."""

import sys

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import Selection, select_runs, selection_options
from rxflow.cli._show_options import FollowOptions, ShowOptions, follow_options, show_options
from rxflow.cli._times import check_order


@click.command("watch", cls=Command)
@selection_options
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@show_options
@follow_options
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    selection: Selection,
    show: ShowOptions,
    following: FollowOptions,
    tasks: bool,
) -> None:
    """Show the states and log lines of runs until they are over.

    A RUN is an id or the beginning of one, a name, the URL of its page, @latest,
    @latest:FLOW/DEPLOYMENT, or - for ids on standard input. Several runs, or those that the filters
    find, are followed together, each with its subflows.

    \b
    Examples:
      rxflow watch @latest
      rxflow watch amber-fox --level warning --highlight 'row \\d+'
      rxflow watch --tag prod --since 1h --timeout 30m
      rxflow watch 9e6caafc -o jsonl | jq .message
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._following import Scope, follow_runs  # noqa: PLC0415 - needs reactivex

    check_order(selection.since, show.until)
    runs = select_runs(selection, client)
    scope = Scope(tasks=tasks, children=selection.children)
    sys.exit(follow_runs(runs, client, show, following, scope))
