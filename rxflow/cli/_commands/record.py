"""``rxflow record``: write the events of runs to a file, with the times at which they came."""

import sys
from pathlib import Path

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import Selection, select_runs, selection_options
from rxflow.cli._time_limit import TimeLimit, read_time_limit


@click.command("record", cls=Command)
@selection_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    required=True,
    help="The file to write; compressed if its name ends in .gz or .zst.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option(
    "--timeout",
    type=read_time_limit,
    metavar="DURATION",
    help="Stop after this time, such as 30m, with status 124; the runs go on.",
)
@click.option("--no-push", is_flag=True, help="Do not let the server announce changes; poll alone.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 however the runs end.")
@click.option("-q", "--quiet", is_flag=True, help="Write nothing but errors.")
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    selection: Selection,
    *,
    output: str,
    overwrite: bool,
    timeout: TimeLimit | None,
    no_push: bool,
    exit_zero: bool,
    quiet: bool,
) -> None:
    """Write the events of runs to a file, with the times at which they came, until they are over.

    Runs are selected and followed as by rxflow watch, whose exit statuses these are; nothing is
    shown. rxflow replay shows the file later, without a server, and rxflow.replay emits its events.

    \b
    Examples:
      rxflow record @latest -o night.jsonl
      rxflow record --tag prod --since 1h -o night.jsonl.gz --timeout 8h
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._record import record_runs  # noqa: PLC0415 - needs reactivex

    if output == "-":
        raise click.UsageError(
            "A recording is a file; name one, such as night.jsonl. rxflow watch -o jsonl writes "
            "events to standard output."
        )
    if not overwrite and Path(output).exists():
        raise click.UsageError(f"{output} exists; pass --overwrite to replace it.")
    status = record_runs(
        select_runs(selection, client),
        client,
        output,
        overwrite=overwrite,
        children=selection.children,
        timeout=timeout,
        push=not no_push,
        quiet=quiet,
    )
    sys.exit(ExitStatus.COMPLETED if exit_zero else status)
