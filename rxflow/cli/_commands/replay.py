"""``rxflow replay``: show a recording as the watch of its runs was shown."""

import math
import sys

import click

from rxflow.cli._command import Command
from rxflow.cli._option_types import RecordingPath
from rxflow.cli._output import exit_on_error
from rxflow.cli._show_options import ShowOptions, show_options


def _read_speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise click.BadParameter(f"{text!r} is not a number above 0, such as 60")
    return speed


@click.command("replay", cls=Command)
@click.argument("file", type=RecordingPath())
@click.option(
    "--speed",
    type=_read_speed,
    metavar="N",
    help="How many recorded seconds pass in one second: 60 for a minute. Default: 1.",
)
@click.option("--at-once", is_flag=True, help="Show everything without waiting.")
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@show_options
@exit_on_error()
def command(file: str, speed: float | None, at_once: bool, tasks: bool, show: ShowOptions) -> None:
    """Show FILE, which rxflow record or a watch with a journal has written, as it came.

    It looks as rxflow watch does, and the exit status is that of the watch. No server is needed.

    \b
    Examples:
      rxflow replay night.jsonl --speed 60
      rxflow replay night.jsonl.gz --at-once --level error
      rxflow replay night.jsonl.gz --at-once -o jsonl | jq .message
    """  # noqa: D301 - click reads \\b as it is
    from rxflow.cli._replay import replay_file  # noqa: PLC0415 - needs reactivex

    if at_once and speed is not None:
        raise click.UsageError("--speed and --at-once are both given; pass one of them.")
    sys.exit(replay_file(file, None if at_once else speed or 1.0, show, tasks=tasks))
