"""``rxflow demo``: run a flow on a server of its own, and watch the run."""

import sys

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._output import exit_on_error, report


@click.command("demo", cls=Command)
@exit_on_error()
def command() -> None:
    """Start a Prefect server, run a flow on it in another process, and watch the run.

    All files are temporary and removed at the end.
    """
    from rxflow.cli._demo import error_of, start_demo_flow  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._following import Scope, follow_runs  # noqa: PLC0415 - the same
    from rxflow.cli._prefect_server import PrefectServer  # noqa: PLC0415 - for the demo alone
    from rxflow.cli._selection import SelectedRuns  # noqa: PLC0415 - the same
    from rxflow.cli._show_options import FollowOptions, ShowOptions  # noqa: PLC0415 - the same

    with PrefectServer(report=report) as server:
        run_id, flow = start_demo_flow(server)
        report(f"watching flow run {run_id}, which another process runs ...")
        with rxflow.Client(api_url=server.url, backend=rxflow.BackendName.PREFECT_3) as client:
            status = follow_runs(
                SelectedRuns((run_id,), {}, None),
                client,
                ShowOptions(),
                FollowOptions(),
                Scope(tasks=True),
                failing=error_of(flow),
            )
        report("stopping the server and removing its files ...")
    sys.exit(status)
