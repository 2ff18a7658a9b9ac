"""The commands, each a few lines over the library."""

import logging
import subprocess
import sys
from collections.abc import Iterable

import click
import reactivex
from reactivex import Observable
from reactivex import operators as ops

import rxflow
from rxflow import BackendName
from rxflow._models.terminal_text import safe_text
from rxflow.cli._demo import start_demo_flow
from rxflow.cli._lines import Transcript, closing
from rxflow.cli._prefect_server import PrefectServer

_ENDED_BADLY, _TROUBLE, _INTERRUPTED = 1, 2, 130
_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rxflow.__version__, message="rxflow %(version)s")
def commands() -> None:
    """The life of a Prefect flow run as a stream."""


@commands.command()
@click.argument("run_id")
@click.option("--level", type=click.Choice(_LEVELS, case_sensitive=False), help="Least log level.")
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@click.option("--api-url", help="The API's URL; without it, as Prefect itself finds it.")
@click.option("--profile", help="The Prefect profile to use in place of the active one.")
@click.option(
    "--backend",
    type=click.Choice([name.value for name in BackendName]),
    help="What the server is; without it, it is asked.",
)
def watch(  # noqa: PLR0917 - which click passes by name
    run_id: str,
    level: str | None,
    tasks: bool,
    api_url: str | None,
    profile: str | None,
    backend: str | None,
) -> None:
    """Show the states and log lines of the flow run RUN_ID, from its first to its last.

    The exit status is 0 if the run completed, 1 if it ended otherwise, 2 on trouble.
    """
    with (
        _explained(),
        rxflow.Client(api_url=api_url, profile=profile, backend=backend) as client,
    ):
        stream = rxflow.watch_flow_run(
            run_id,
            stream_tasks=tasks,
            max_duration=None,
            level=logging.getLevelNamesMapping()[level.upper()] if level else 0,
            client=client,
        )
        sys.exit(_follow(stream))


@commands.command()
def demo() -> None:
    """Start a Prefect server, run a flow on it in another process, and watch it live.

    Everything is temporary: nothing is left behind. The exit status is 0 if the run completed.
    """
    with _explained(), PrefectServer(tell=_say) as server:
        run_id, flow = start_demo_flow(server)
        _say(f"watching flow run {run_id}, which another process runs ...")
        with rxflow.Client(api_url=server.url, backend=BackendName.PREFECT_3) as client:
            stream = rxflow.watch_flow_run(run_id, stream_tasks=True, client=client)
            status = _follow(stream.pipe(ops.merge(_failure_of(flow))))
        _say("stopping the server and removing its files ...")
    sys.exit(status)


def _follow(events: Iterable[rxflow.FlowRunEvent]) -> int:
    transcript = Transcript()
    for event in events:
        for line in transcript.lines(event):
            click.echo(line)
        if isinstance(event, rxflow.Closed):
            if event.view is not None:
                click.echo("\n".join(["", *closing(event.view, event)]))
            completed = event.state is not None and event.state.is_completed
            return 0 if completed else _ENDED_BADLY
    return _ENDED_BADLY


def _failure_of(flow: subprocess.Popen[bytes]) -> Observable[rxflow.FlowRunEvent]:
    """Nothing while the flow's process is well, and an error if it fails."""

    def check(_: int) -> Observable[rxflow.FlowRunEvent]:
        code = flow.poll()
        if not code:
            return reactivex.empty()
        return reactivex.throw(rxflow.RxflowError(f"the flow's process failed with code {code}"))

    return reactivex.interval(1.0).pipe(ops.flat_map(check))


def _say(text: str) -> None:
    click.echo(f"rxflow: {safe_text(text)}", err=True)


class _explained:  # noqa: N801 - reads as a phrase behind `with`
    """Ends the program with a sentence in place of a traceback."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Explain."""
        match error:
            case rxflow.RxflowError():
                _say(str(error))
                sys.exit(_TROUBLE)
            case KeyboardInterrupt():
                _say("interrupted")
                sys.exit(_INTERRUPTED)
            case _:
                pass
