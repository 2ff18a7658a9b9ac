"""``rxflow demo``: run a flow on a server of its own, and watch the run."""

import sys
from collections.abc import Callable
from contextlib import closing

import click

import rxflow
from rxflow.cli._output import exit_on_error, report


@click.command("demo")
@exit_on_error()
def command() -> None:
    """Start a Prefect server, run a flow on it in another process, and watch the run.

    All files are temporary and removed at the end.
    """
    from reactivex import operators as ops  # noqa: PLC0415 - takes long to import

    from rxflow.cli._demo import error_of, start_demo_flow  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._display import PlainDisplay  # noqa: PLC0415 - needs msgspec
    from rxflow.cli._end_summary import EndSummaries  # noqa: PLC0415 - the same
    from rxflow.cli._follow import follow  # noqa: PLC0415 - the same
    from rxflow.cli._lines import Transcript  # noqa: PLC0415 - the same
    from rxflow.cli._live import live_display, refreshed  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._live_order import ordered  # noqa: PLC0415 - the same
    from rxflow.cli._names import Names  # noqa: PLC0415 - the same
    from rxflow.cli._prefect_server import PrefectServer  # noqa: PLC0415 - for the demo alone
    from rxflow.cli._single_reads import SingleReads  # noqa: PLC0415 - needs msgspec

    with PrefectServer(report=report) as server:
        run_id, flow = start_demo_flow(server)
        report(f"watching flow run {run_id}, which another process runs ...")
        with rxflow.Client(api_url=server.url, backend=rxflow.BackendName.PREFECT_3) as client:
            stream = rxflow.watch_flow_run(run_id, stream_tasks=True, subflows=True, client=client)
            # The check of the flow's process does not end with the events.
            events = stream.merge(error_of(flow)).pipe(
                ops.take_while(_is_before_end_of(run_id), inclusive=True)
            )
            with closing(SingleReads(client)) as reads:
                lines, summaries = Transcript(names=Names(reads)), EndSummaries()
                live = live_display(lines, summaries, client)
                if live is None:
                    status = follow(events.pipe(ordered()), PlainDisplay(lines, summaries))
                else:
                    received = events.pipe(ops.do_action(live.receive), ordered())
                    status = follow(refreshed(received, live), live)
        report("stopping the server and removing its files ...")
    sys.exit(status)


def _is_before_end_of(run_id: str) -> Callable[["rxflow.FlowRunEvent"], bool]:
    return lambda event: not (isinstance(event, rxflow.Closed) and event.flow_run_id == run_id)
