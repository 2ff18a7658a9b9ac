"""The group of commands: which there are, and the module that each is imported from when it is run.

So that ``--help`` and ``--version`` import neither httpx nor rich nor reactivex, and a command
only what it needs.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.exceptions import NoSuchCommand

import rxflow
from rxflow.cli._colours import colour_of_environment
from rxflow.cli._output import output_errors

__all__ = ["commands"]

COMMANDS: Mapping[str, tuple[str, str]] = {
    "watch": ("watch", "Show the states and log lines of runs until they are over."),
    "logs": ("logs", "Show the log lines of runs."),
    "wait": ("wait", "Wait until runs are over."),
    "runs": ("runs", "List runs."),
    "tree": ("tree", "Show the task runs and subflows of a run, with states and durations."),
    "timeline": ("timeline", "Show the task runs and subflows of a run as bars over time."),
    "report": ("report", "Write all of a run to one HTML file."),
    "run": ("run", "Create a run of a deployment, and follow it to its end."),
    "record": ("record", "Write the events of runs to a file, with the times at which they came."),
    "replay": ("replay", "Show a recording as the watch of its runs was shown."),
    "audit": ("audit", "Compare a recording of a run with the server."),
    "relay": ("relay", "Watch runs once for many readers, by way of a message broker."),
    "demo": ("demo", "Run a flow on a server of its own, and watch the run."),
    "doctor": ("doctor", "Check how the server is found, reached and read from."),
}
"""By name: the module of this package that has it as ``command``, and its summary."""


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(
            f"rxflow.cli._commands.{COMMANDS[cmd_name][0]}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; of a misspelt one the error names those that are meant by it."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # which looks among commands that are imported
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the command line, which writes help and version if they are wanted."""
        with output_errors():
            return super().make_context(*arguments, **options)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rxflow.__version__, message="rxflow %(version)s")
@click.pass_context
def commands(context: click.Context) -> None:
    """Watch Prefect flow runs as streams of events."""
    context.color = colour_of_environment(os.environ)
