"""Names of runs that are like one which no run has, for the error that says so."""

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from rxflow import RxflowError
from rxflow._escapes import one_line
from rxflow._protocol.queries import RunFilter
from rxflow._views.flow_run_search import read_due
from rxflow.cli._suggestions import question

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["close_names_question"]

_MOST = 3
_LEAST_LETTERS = 3  # of a text that is looked for within names


def close_names_question(text: str, client: "Client") -> str:
    """Return a question that names runs which may be meant; "" if none is close.

    They are looked for among the latest runs, as many as a server sends at once.

    Args:
        text: What is the name of no run.
        client: The client of the server.
    """
    names: dict[str, None] = {}
    with suppress(RxflowError):  # The error that the question is added to matters more.
        runs = client.read(lambda rows: read_due(RunFilter(), rows, rows)).rows
        names = dict.fromkeys(run.name for run in runs)
    return question([one_line(name) for name in _close_names(text, [*names])])


def _close_names(text: str, names: list[str]) -> list[str]:
    """Return the names that have a text in them, and then those that are like it."""
    written = text.strip().lower()
    lower = {name.lower(): name for name in reversed(names)}  # the latest of those alike counts
    within = [name for name in lower if written in name] if len(written) >= _LEAST_LETTERS else []
    like = get_close_matches(written, lower, _MOST)
    return [lower[name] for name in dict.fromkeys([*reversed(within), *like])][:_MOST]
