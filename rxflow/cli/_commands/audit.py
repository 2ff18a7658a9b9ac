"""``rxflow audit``: compare a recording of a run with the server."""

import shlex
import sys
from datetime import datetime

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._option_types import RecordingPath
from rxflow.cli._output import exit_on_error, write
from rxflow.cli._show_options import read_level
from rxflow.cli._times import read_time


@click.command("audit", cls=Command)
@click.argument("run")
@click.argument("file", type=RecordingPath())
@click.option(
    "--level",
    type=read_level,
    default="0",
    metavar="LEVEL",
    help="Compare only log lines of this level and above, as the watch had them.",
)
@click.option(
    "--since", type=read_time, metavar="TIME", help="Compare only log lines since then, as well."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    help="text, or jsonl: each row that differs as JSON, and the counts. Default: text.",
)
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    run: str,
    file: str,
    *,
    level: int,
    since: datetime | None,
    output: str,
) -> None:
    """Compare what FILE, a recording or a journal, has of RUN with what the server has now.

    States and log lines that came after the recorded end, that the recording lacks, and that
    vanished from the server are listed. The exit status is 0 if there are none, else 1. Subflows
    are not compared: each is a RUN of its own.

    \b
    Examples:
      rxflow audit amber-fox night.jsonl.gz
      rxflow audit @latest nightly.journal -o jsonl | jq .difference
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._audit import audit_of  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._selection import find_run  # noqa: PLC0415 - the same

    try:
        audit = audit_of(find_run(run, client), file, client, level=level, since=since)
    except rxflow.RunNotFound as error:
        way = shlex.join(["rxflow", "replay", file])
        raise rxflow.RunNotFound(f"{error}; to show what was recorded: {way}") from None
    for line in audit.text() if output == "text" else audit.json_lines():
        write(line, unchanged=True)
    sys.exit(ExitStatus.FAILED if audit.differences else ExitStatus.COMPLETED)
