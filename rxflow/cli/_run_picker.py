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
from rxflow._views.flow_lookups import read_flow_names
from rxflow._views.flow_run_search import read_due
from rxflow.cli._run_table import aligned, run_columns

if TYPE_CHECKING:
    import rxflow

__all__ = ["can_pick", "pick_runs"]

_MOST_OFFERED = 15


def can_pick() -> bool:
    """Whether a person can answer: input and standard error are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def pick_runs(client: "rxflow.Client") -> tuple[str, ...]:
    """Offer the latest runs, without subflows, and return the ids of those that are picked.

    Args:
        client: The client of the server.

    Raises:
        RunNotFound: The server has no run to offer.
        KeyboardInterrupt: Ctrl-C, or the end of input.
    """
    where = RunFilter(top_level=True)
    runs = client.read(lambda rows: read_due(where, rows, _MOST_OFFERED)).rows
    if not runs:
        raise RunNotFound("The server has no run that has started or is due")
    flow_ids = [run.flow_id for run in runs if run.flow_id is not None]
    names = client.read(lambda rows: read_flow_names(flow_ids, rows))
    table = [(f"{number})", *run_columns(run, names)[1:]) for number, run in enumerate(runs, 1)]
    for line in aligned(table):
        click.echo(line, err=True)
    try:
        picked: Sequence[int] = click.prompt(
            f"Which run, or several (1-{len(runs)})",
            default="1",
            err=True,
            value_proc=lambda text: _numbers_of(text, len(runs)),
        )
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return tuple(runs[number - 1].id for number in picked)


def _numbers_of(text: str, most: int) -> Sequence[int]:
    """Read numbers between blanks or commas, each once.

    Raises:
        click.UsageError: There is none, or one of no run; the question is put again.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and 1 <= int(word) <= most for word in words):
        raise click.UsageError(f"pass numbers from 1 to {most}")
    return [*dict.fromkeys(map(int, words))]
