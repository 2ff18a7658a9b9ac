"""``rxflow demo``: run a flow on a server of its own, and watch the run."""

import sys

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
    from rxflow.cli._prefect_server import PrefectServer  # noqa: PLC0415 - for the demo alone

    with PrefectServer(report=report) as server:
        run_id, flow = start_demo_flow(server)
        report(f"watching flow run {run_id}, which another process runs ...")
        with rxflow.Client(api_url=server.url, backend=rxflow.BackendName.PREFECT_3) as client:
            stream = rxflow.watch_flow_run(run_id, stream_tasks=True, client=client)
            until_closed = ops.take_while(_is_before_the_end, inclusive=True)
            events = stream.merge(error_of(flow)).pipe(until_closed)
            lines, summaries = Transcript(), EndSummaries()
            live = live_display(lines, summaries, client)
            if live is None:
                status = follow(events, PlainDisplay(lines, summaries))
            else:
                events = events.pipe(ops.do_action(live.receive))
                status = follow(refreshed(events, live), live)
        report("stopping the server and removing its files ...")
    sys.exit(status)


def _is_before_the_end(event: "rxflow.FlowRunEvent") -> bool:
    return not isinstance(event, rxflow.Closed)
