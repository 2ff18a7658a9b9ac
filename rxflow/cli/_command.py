"""The class of all commands: it keeps what was written for them.

Help that cannot be written is an error of the output.
"""

from typing import Any

import click

from rxflow.cli._output import output_errors

__all__ = ["Command", "written_words"]

_WORDS = f"{__name__}.words"


class Command(click.Command):
    """A command whose ``--help`` ends as `rxflow.cli._output` says where it cannot be written."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the command line, which writes the help if that is wanted."""
        # Click would end with status 1 if a pipe is closed, which means that a run failed.
        with output_errors():
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, and keep it."""
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


def written_words(context: click.Context) -> list[str]:
    """Return what was written behind the name of a command."""
    return [*context.meta.get(_WORDS, ())]
