"""The options of the command line, as words of the command that goes on with its runs.

They are as they were written; what a command makes of them, such as a time, could not be written
again.
"""

from collections.abc import Container, Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from rxflow.cli._command import written_words

__all__ = ["given_options", "without_user"]

_LEFT_OUT = frozenset(
    {
        *("tags", "deployment", "flow", "name", "states", "work_pool", "parent"),  # find the runs
        *("parameters", "detach"),  # create one
        "follow",  # part of the command that goes on
        "timeout",
    }
)


def given_options(leave_out: Container[str] = ()) -> list[str]:
    """Return the options that were given, but for those that select runs, and the time limit.

    Args:
        leave_out: The names of further options to leave out.

    Returns:
        The words, in the order in which the options were given; none outside of a command.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return []
    values, _, order = context.command.make_parser(context).parse_args(written_words(context))
    words: list[str] = []
    for option in dict.fromkeys(order):
        name = option.name or ""
        finds_runs = name == "since" and not context.params.get("runs")
        if not isinstance(option, click.Option) or finds_runs:
            continue
        if name not in _LEFT_OUT and name not in leave_out:
            words += _words_of(option, values[name])
    return words


def without_user(url: str) -> str:
    """Return a URL, or several with commas between them, without users and passwords."""
    parts = [urlsplit(each.strip()) for each in url.split(",")]
    return ",".join(part._replace(netloc=part.netloc.rpartition("@")[2]).geturl() for part in parts)


def _words_of(option: click.Option, value: Any) -> Iterator[str]:
    long = max(option.opts, key=len)
    if option.is_flag:
        yield long
        return
    for each in value if option.multiple else [value]:
        yield from (long, without_user(each) if option.name == "api_url" else each)
