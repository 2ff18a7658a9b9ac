"""Pick runs from a list of the latest ones, on a terminal.

List and question are written to standard error, so that standard output has what the command
writes, and nothing else.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rxflow import RunNotFound
from rxflow._protocol.queries import RunFilter
from rxflow.cli._run_list import RunList
from rxflow.cli._run_table import aligned

if TYPE_CHECKING:
    import rxflow

__all__ = ["can_pick", "pick_runs"]

_MOST_OFFERED = 15


def can_pick() -> bool:
    """Whether a person can answer: input and standard error are a terminal."""
    # Python has neither where they are closed.
    return all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr))


def pick_runs(client: "rxflow.Client") -> tuple[str, ...]:
    """Offer the latest runs, without subflows, and return the ids of those that are picked.

    Args:
        client: The client of the server.

    Raises:
        RunNotFound: The server has no run to offer.
        KeyboardInterrupt: Ctrl-C, or the end of input.
    """
    runs = RunList(client, RunFilter(), _MOST_OFFERED, children=False)
    most = len(runs.rows)
    if not most:
        raise RunNotFound("The server has no run that has started or is due")
    for line in aligned((f"{n})", *row[1:]) for n, row in enumerate(runs.columns(), 1)):
        click.echo(line, err=True)
    try:
        picked: Sequence[int] = click.prompt(
            f"Which run, or several (1-{most})",
            default="1",
            err=True,
            value_proc=lambda text: _numbers_of(text, most),
        )
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return tuple(runs.rows[number - 1].id for number in picked)


def _numbers_of(text: str, most: int) -> Sequence[int]:
    """Read numbers between blanks or commas, each once.

    Raises:
        click.UsageError: There is none, or one of no run; the question is put again.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and 1 <= int(word) <= most for word in words):
        raise click.UsageError(f"pass numbers from 1 to {most}")
    return [*dict.fromkeys(map(int, words))]
