"""`rxflow report --from`: the report of a run that was recorded."""

from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner, Result
from html_reader import HtmlReader
from picture_runs import NightlyRun

import rxflow
from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect3


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A recording of a run with all states of its task runs, and with a subflow."""
    return recorded(tmp_path / "night.jsonl.gz", "all")


def recorded(path: Path, task_states: Literal["latest", "all"]) -> Path:
    """Record a run that is over."""
    story = NightlyRun().to_end()
    watch = rxflow.watch_flow_run(
        story.run_id,
        stream_tasks=True,
        task_states=task_states,
        subflows=True,
        client=story.server.client(),
    )
    story.time.collect(watch.record(path))
    return path


def report(*arguments: str | Path) -> Result:
    """Run the command without a server."""
    return CliRunner().invoke(commands, ["report", *map(str, arguments)])


def lines_of(page: str) -> list[str]:
    """Return the log lines of a page."""
    return [each.text for each in HtmlReader(page).find("div", "line")]


def test_the_page_is_that_of_the_server(night: Path) -> None:
    """It has the same log lines, in the same order, and the same bars."""
    story = NightlyRun().to_end()
    with story.server.serve() as url:
        read = (
            CliRunner()
            .invoke(commands, ["report", "amber-fox", "-o", "-", "--api-url", url])
            .stdout
        )
    made = report("--from", night, "-o", "-")
    assert (made.exit_code, made.stderr) == (0, "")
    # Without the names of flows, which a server has alone, a line begins with that of its run.
    assert [text[-11:] for text in lines_of(made.stdout)] == [text[-11:] for text in lines_of(read)]
    assert "amber-fox" in HtmlReader(made.stdout).find("h1")[0].text
    assert len(HtmlReader(made.stdout).find("rect")) == len(HtmlReader(read).find("rect"))


def test_a_watch_that_ended_with_an_error_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    """Such as at its time limit; the page says that the run goes on."""
    server = FakePrefect3()
    run = server.add_run(name="amber-fox", state="RUNNING")
    server.log(run, "gathering")
    watch = rxflow.watch_flow_run(run, max_duration=0, client=server.client())
    with pytest.raises(rxflow.WatchTimedOut):
        list(watch.record(tmp_path / "night.jsonl"))
    done = report("--from", tmp_path / "night.jsonl", "-o", "-")
    assert (done.exit_code, len(lines_of(done.stdout))) == (0, 1)


def test_a_task_run_whose_states_were_not_all_seen_has_the_bar_of_its_row(
    night: Path, tmp_path: Path
) -> None:
    """From its start to its end; only the attempts of one that ran twice are not apart."""
    latest = recorded(tmp_path / "latest.jsonl", "latest")
    bars, whole = (
        len(HtmlReader(report("--from", path, "-o", "-").stdout).find("rect"))
        for path in (latest, night)
    )
    assert whole - 3 <= bars < whole


def test_subflows_can_be_left_out(night: Path) -> None:
    """As of a server."""
    whole = report("--from", night, "-o", "-")
    own = report("--from", night, "-o", "-", "--no-children")
    assert 0 < len(lines_of(own.stdout)) < len(lines_of(whole.stdout))


def test_a_run_is_selected_by_name_or_id(night: Path, tmp_path: Path) -> None:
    """One that the file does not have is an error of usage that lists those it has."""
    run = next(iter(rxflow.replay(night, None))).flow_run_id
    for word in (run, run[:8], f"{run[:30]}…", "amber-fox"):
        assert report(word, "--from", night, "-o", tmp_path / "run.html").exit_code == 0
    done = report("grey-owl", "--from", night, "-o", "-")
    assert done.exit_code == 2
    assert f"has no such run; it has {run} (amber-fox)" in done.stderr
