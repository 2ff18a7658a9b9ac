"""``rxflow runs``: list runs."""

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._option_types import WholeNumber
from rxflow.cli._output import exit_on_error, output_width, report, write
from rxflow.cli._selection import (
    CHILDREN_OPTION,
    Selection,
    filter_of,
    filter_options,
    selected_filters,
)

EXAMPLES = (
    "\b\nExamples:\n"
    "  rxflow runs --state running\n"
    "  rxflow runs --flow nightly-report --since 1d --limit 100\n"
    "  rxflow runs --state failed --since 1h -q | rxflow logs -\n"
    "  rxflow runs -o jsonl | jq .name\n"
)


@click.command("runs", cls=Command, epilog=EXAMPLES)
@filter_options
@CHILDREN_OPTION
@click.option(
    "-n",
    "--limit",
    type=WholeNumber(1),
    default=20,
    show_default=True,
    metavar="N",
    help="The most runs to list.",
)
@click.option("--upcoming", is_flag=True, help="Also list runs that are scheduled for later.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    help="A table, or the row of each run as JSON.",
)
@click.option("-q", "--quiet", is_flag=True, help="Write ids alone.")
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    *,
    selection: Selection,
    limit: int,
    upcoming: bool,
    output: str,
    quiet: bool,
) -> None:
    """List runs, the newest first: id, state, start, duration, flow and name.

    The filters are those of `rxflow watch`. A list that is empty is no error.
    """
    from rxflow.cli._run_list import RunList  # noqa: PLC0415 - needs msgspec

    where = filter_of(selected_filters(selection, client))
    runs = RunList(client, where, limit, upcoming=upcoming, children=selection.children)
    if quiet:
        lines = runs.ids()
    elif output == "jsonl":
        lines = runs.json_lines()
    else:
        # Without titles into a pipe: `rxflow wait -` reads a run from each line.
        lines = runs.table(output_width())
    is_empty = True
    for line in lines:
        write(line)
        is_empty = False
    if is_empty and not quiet:
        from rxflow.cli._close_names import close_filter_question  # noqa: PLC0415 - the same

        report(f"no run matches{close_filter_question(where, client)}")
