"""``rxflow report``: write all of a run to one HTML file."""

import sys

import click

from rxflow.cli._command import Command
from rxflow.cli._connection import command_client, server_options
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._option_types import RecordingPath
from rxflow.cli._output import exit_on_error, report, write


@click.command("report", cls=Command)
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    required=True,
    help="The file to write, which is replaced; - for standard output.",
)
@click.option(
    "--from",
    "recording",
    type=RecordingPath(),
    metavar="RECORDING",
    help="Read the run from a recording or a journal, without a server.",
)
@click.option("--no-children", is_flag=True, help="Leave out subflows.")
@server_options
@exit_on_error()
def command(
    *,
    run: str | None,
    output: str,
    recording: str | None,
    no_children: bool,
    **server: str | None,
) -> None:
    """Write all of RUN to one HTML file: states, task runs and subflows over time, and the log.

    The file needs no network and no other file, and whatever the log holds, it cannot act. A run
    that goes on is written as far as it has got.

    \b
    Examples:
      rxflow report amber-fox -o run.html
      rxflow report @latest:nightly-report/prod -o - | gzip > run.html.gz
      rxflow report --from night.jsonl.gz -o night.html
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._recorded_report import recorded_report  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._report_file import page_of, read_report, replace_file  # noqa: PLC0415

    subflows = not no_children
    if recording is not None:
        page, lines = page_of(recorded_report(recording, run, subflows=subflows))
    else:
        with command_client(**server) as client:
            page, lines = page_of(read_report(client, run, subflows=subflows))
    if output == "-":
        for line in page.split("\n"):  # one by one, so that it ends once the reader has enough
            write(line, unchanged=True)
        return
    try:
        size = replace_file(output, page)
    except OSError as error:
        report(f"{output} cannot be written: {error.strerror}")
        sys.exit(ExitStatus.OUTPUT_ERROR)
    written = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    report(f"wrote {output}: {lines}, {written}")
