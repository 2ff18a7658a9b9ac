"""The commands of the command line and their exit statuses.

Lines of events are formatted in ``_lines``, the demo's server and run come from ``_demo``. What a
command needs is imported when it is run, so that ``--help`` does not wait for it.
"""

import logging
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import click

import rxflow
from rxflow import BackendName
from rxflow._escapes import safe_text
from rxflow.cli._lines import Transcript, summary

_COMPLETED, _NOT_COMPLETED, _ERROR, _OUTPUT_ERROR, _INTERRUPTED = 0, 1, 2, 74, 130
_PIPE_CLOSED = 141  # as of a program that a closed pipe ends
_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rxflow.__version__, message="rxflow %(version)s")
def commands() -> None:
    """Watch Prefect flow runs as streams of events."""


@commands.command()
@click.argument("run_id")
@click.option(
    "--level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Omit log lines below this level.",
)
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@click.option("--api-url", help="The API's URL; by default found as Prefect finds it.")
@click.option("--profile", help="The Prefect profile to use in place of the active one.")
@click.option(
    "--backend",
    type=click.Choice([name.value for name in BackendName]),
    help="The kind of server; by default detected.",
)
def watch(  # noqa: PLR0917 - which click passes by name
    run_id: str,
    level: str | None,
    tasks: bool,
    api_url: str | None,
    profile: str | None,
    backend: str | None,
) -> None:
    """Show the states and log lines of the flow run RUN_ID until it is over.

    The exit status is 0 if the run completed, 1 if it ended otherwise, 2 after an error.
    """
    lowest = level.upper() if level else None
    with (
        _exit_on_error(),
        rxflow.Client(api_url=api_url, profile=profile, backend=backend) as client,
    ):
        stream = rxflow.watch_flow_run(
            run_id,
            stream_tasks=tasks,
            max_duration=None,
            level=logging.getLevelNamesMapping()[lowest] if lowest else 0,
            client=client,
        )
        sys.exit(_show(stream, lowest))


@commands.command()
def demo() -> None:
    """Start a Prefect server, run a flow on it in another process, and watch the run.

    All files are temporary and removed at the end. The exit status is 0 if the run completed.
    """
    from rxflow.cli._demo import error_of, start_demo_flow  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._prefect_server import PrefectServer  # noqa: PLC0415 - for the demo alone

    with _exit_on_error(), PrefectServer(report=_report) as server:
        run_id, flow = start_demo_flow(server)
        _report(f"watching flow run {run_id}, which another process runs ...")
        with rxflow.Client(api_url=server.url, backend=BackendName.PREFECT_3) as client:
            stream = rxflow.watch_flow_run(run_id, stream_tasks=True, client=client)
            status = _show(stream.merge(error_of(flow)))
        _report("stopping the server and removing its files ...")
    sys.exit(status)


def _show(events: Iterable[rxflow.FlowRunEvent], lowest: str | None = None) -> int:
    """Print the lines of a watch and return the exit status.

    Args:
        events: The events of a watch.
        lowest: The name of the level below which log lines are left out; None for all.
    """
    transcript = Transcript()
    for event in events:
        for line in transcript.lines(event):
            _write(line)
        if isinstance(event, rxflow.Closed):
            if event.view is not None:
                _write("\n".join(["", *summary(event.view, event, lowest)]))
            completed = event.state is not None and event.state.is_completed
            return _COMPLETED if completed else _NOT_COMPLETED
    return _NOT_COMPLETED


class _OutputError(Exception):
    """Standard output cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def _write(text: str) -> None:
    try:
        click.echo(text)
    except OSError as error:
        raise _OutputError(error) from error


def _output_failed(error: OSError) -> int:
    """Report an output that cannot be written, and return the exit status."""
    # What is still buffered would fail once more when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # its reader, such as head, has read enough
        return _PIPE_CLOSED
    _report(f"the output cannot be written: {error.strerror}; the run goes on")
    return _OUTPUT_ERROR


def _report(text: str) -> None:
    click.echo(f"rxflow: {safe_text(text)}", err=True)


@contextmanager
def _exit_on_error() -> Generator[None]:
    """Exit with a sentence and a status instead of a traceback."""
    try:
        yield
    except rxflow.RxflowError as error:
        _report(str(error))
        sys.exit(_ERROR)
    except _OutputError as error:
        sys.exit(_output_failed(error.cause))
    except KeyboardInterrupt:
        _report("interrupted")
        sys.exit(_INTERRUPTED)
