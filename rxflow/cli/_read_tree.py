"""Read the tree of a run that a command shows."""

from rxflow import Client
from rxflow._pictures.run_tree import RunTree
from rxflow._views.run_tree_lookups import read_run_tree
from rxflow.cli._selection import find_run

__all__ = ["read_tree"]


def read_tree(client: Client, run: str | None, *, subflows: bool) -> RunTree:
    """Read a run, its task runs and its subflows.

    Args:
        client: The client of the server.
        run: What was written for the run; None to have it picked from a list, on a terminal.
        subflows: Whether to read subflows.

    Raises:
        click.UsageError: No run is given, or the word means several.
        RxflowError: There is no such run, or the server cannot be read from.
    """
    run_id = find_run(run, client)
    return client.read(lambda limit: read_run_tree(run_id, limit, subflows=subflows))
