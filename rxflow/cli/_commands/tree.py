"""``rxflow tree``: show what a run started, with states and durations."""

import click

import rxflow
from rxflow.cli._colours import colour_option
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._output import exit_on_error


@click.command("tree", cls=Command)
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--no-children", is_flag=True, help="Leave out subflows.")
@colour_option
@exit_on_error()
@connection_options
def command(client: "rxflow.Client", run: str | None, no_children: bool) -> None:
    """Show the task runs and subflows of RUN, to any depth, with their states and durations.

    A run that goes on is shown as far as it has got.

    \b
    Examples:
      rxflow tree amber-fox
      rxflow tree @latest:nightly-report/prod
    """  # noqa: D301 - click reads \\b as it is
    from rxflow._pictures.text_tree import tree_lines  # noqa: PLC0415 - needs msgspec
    from rxflow.cli._picture_output import picture_width, write_lines  # noqa: PLC0415
    from rxflow.cli._read_tree import read_tree  # noqa: PLC0415

    tree = read_tree(client, run, subflows=not no_children)
    write_lines(tree_lines(tree, picture_width()))
