"""``rxflow watch``: show the states and log lines of runs until they are over."""

import sys

import click

from rxflow.cli._broker_options import RELAY_VARIABLE, BrokerOptions, broker_options
from rxflow.cli._command import Command
from rxflow.cli._connection import command_client, server_options
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import Selection, select_runs, selection_options
from rxflow.cli._show_options import FollowOptions, ShowOptions, follow_options, show_options
from rxflow.cli._times import check_order


@click.command("watch", cls=Command)
@selection_options
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@click.option(
    "--relay",
    metavar="URL",
    envvar=RELAY_VARIABLE,
    help="Read the run, by its whole id, from the broker of a relay, and not from the server; "
    f"by default {RELAY_VARIABLE}.",
)
@click.option("--workspace", metavar="NAME", help="The workspace of the relay, if it has one.")
@broker_options("relay")
@show_options
@follow_options
@exit_on_error()
@server_options
def command(
    selection: Selection,
    show: ShowOptions,
    following: FollowOptions,
    *,
    tasks: bool,
    relay: str | None,
    workspace: str | None,
    shown: BrokerOptions,
    **server: str | None,
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
      rxflow watch --relay nats://localhost:4222 9e6caafc-4ea1-4493-b0a9-122efba9eaaa
    """  # noqa: D301 - click reads \\b as it is
    check_order(selection.since, show.until)
    of_server = [f"--{name.replace('_', '-')}" for name, value in server.items() if value]
    if of_server and relay is not None and shown.is_url_given:
        raise click.UsageError(
            f"{of_server[0]} names the server, and --relay a broker to read from in its place; "
            "leave out one of them."
        )
    # An option that names the server comes before a variable with the URL of a relay.
    if relay is not None and not of_server:
        from rxflow.cli._relayed_run import follow_relayed_run, relayed_run  # noqa: PLC0415

        run_id = relayed_run(selection, show, following, shown)
        status = follow_relayed_run(
            relay,
            workspace or "default",
            run_id,
            show,
            following,
            shown=shown,
            since=selection.since,
            tasks=tasks,
        )
        sys.exit(status)
    of_relay = shown.names if workspace is None else ["--workspace", *shown.names]
    if of_relay:
        raise click.UsageError(f"{of_relay[0]} is of a relay; pass --relay URL as well.")
    from rxflow.cli._following import Scope, follow_runs  # noqa: PLC0415 - needs reactivex

    with command_client(**server) as client:
        runs = select_runs(selection, client)
        scope = Scope(tasks=tasks, children=selection.children)
        sys.exit(follow_runs(runs, client, show, following, scope))
