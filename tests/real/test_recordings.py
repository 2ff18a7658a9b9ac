"""A recording of a run on a real server, by the library and by the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

import rxflow
from rxflow.cli._commands.group import commands

if TYPE_CHECKING:
    from pathlib import Path

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter


def test_a_run_is_recorded_and_shown_again(
    server: PrefectServer, writer: ApiWriter, tmp_path: Path
) -> None:
    """The replay has the events of the watch, and looks as the watch does but for the report."""
    run = writer.new_run(name="amber-fox", state={"type": "RUNNING"})
    writer.post_logs(run, [f"line {number}" for number in range(150)])
    assert writer.set_state(run, "COMPLETED") == "ACCEPT"
    with rxflow.Client(api_url=server.url) as client:
        watch = rxflow.watch_flow_run(run, client=client)
        events = list(watch.record(tmp_path / "library.jsonl.gz"))
    assert len(events) > 150
    assert list(rxflow.replay(tmp_path / "library.jsonl.gz", speed=50)) == events

    file = str(tmp_path / "command.jsonl.gz")
    cli = CliRunner()
    done = cli.invoke(commands, ["record", run, "-o", file, "--api-url", server.url])
    assert done.exit_code == 0, done.output
    watched = cli.invoke(commands, ["watch", run, "--api-url", server.url])
    shown = cli.invoke(commands, ["replay", file, "--at-once"])
    report = f"rxflow report --from {file} -o run.html"
    lines = watched.stdout.replace(f"rxflow report {run} -o run.html", report)
    assert (shown.stdout, shown.exit_code) == (lines, 0)
