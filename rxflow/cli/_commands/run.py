"""``rxflow run``: create a run of a deployment, and follow it to its end."""

import sys
from typing import Any

import click

import rxflow
from rxflow.cli._command import Command
from rxflow.cli._connection import connection_options
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._option_names import as_options
from rxflow.cli._output import exit_on_error, report, write
from rxflow.cli._parameters import read_parameter
from rxflow.cli._selection import CHILDREN_OPTION, SelectedRuns
from rxflow.cli._show_options import FollowOptions, ShowOptions, follow_options, show_options

EXAMPLES = (
    "\b\nExamples:\n"
    "  rxflow run nightly-report/prod -p region=north -p days=3\n"
    "  rxflow run nightly-report/prod --timeout 1h --cancel-on-interrupt\n"
    "  rxflow run nightly-report/prod --detach\n"
)


@click.command("run", cls=Command, epilog=EXAMPLES)
@click.argument("deployment")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    type=read_parameter,
    metavar="KEY=VALUE",
    help="An argument of the flow; the value is JSON, or else text. Repeat it for several.",
)
@click.option("--name", default="", help="The run's name; by default the server makes one up.")
@click.option("--tag", "tags", multiple=True, help="A tag of the run; repeat it for several.")
@click.option("-d", "--detach", is_flag=True, help="Write the run's id, and do not follow it.")
@click.option("--tasks", is_flag=True, help="Show the states of task runs as well.")
@CHILDREN_OPTION
@show_options
@follow_options
@exit_on_error()
@connection_options
def command(
    client: "rxflow.Client",
    *,
    deployment: str,
    parameters: tuple[tuple[str, Any], ...],
    name: str,
    tags: tuple[str, ...],
    detach: bool,
    tasks: bool,
    no_children: bool,
    show: ShowOptions,
    following: FollowOptions,
) -> None:
    """Create a run of DEPLOYMENT, and show its states and log lines until it is over.

    DEPLOYMENT is FLOW/NAME or an id. On Prefect 1, which has no deployments, it is a flow: its
    name, PROJECT/NAME or its id. The run is started by a worker or an agent. Output and exit status
    are those of `rxflow watch`.
    """
    from rxflow._views.flow_run_changes import create_flow_run  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._following import Scope, follow_runs  # noqa: PLC0415 - the same

    try:
        reply = create_flow_run(
            deployment, parameters=dict(parameters), name=name, tags=tags, client=client
        )
    except rxflow.RxflowError:
        raise
    except ValueError as error:  # an empty name, or one without that of the flow
        text = as_options(str(error), {"deployment": "DEPLOYMENT", "flow": "DEPLOYMENT"})
        raise click.UsageError(text) from error
    if reply.flow_run_id is None:
        report(f"the server refuses a run of {deployment}: {reply.refusal}")
        sys.exit(ExitStatus.USAGE)
    if detach:
        write(reply.flow_run_id)
        return
    if not show.quiet:
        report(f"created flow run {reply.flow_run_id} of {deployment}")
    runs = SelectedRuns((reply.flow_run_id,), {}, None)
    scope = Scope(tasks=tasks, children=not no_children)
    sys.exit(follow_runs(runs, client, show, following, scope))
