"""Following runs that the command itself has started, as the demo does."""

import pytest
import reactivex
from command_scenes import CommandScene

from rxflow import FlowRunEvent, RxflowError
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._following import Scope, follow_runs
from rxflow.cli._selection import SelectedRuns
from rxflow.cli._show_options import FollowOptions, ShowOptions
from rxflow.testing import FakePrefect3


def follow_failing(
    server: FakePrefect3, run: str, failing: reactivex.Observable[FlowRunEvent]
) -> ExitStatus:
    """Follow a run beside the check of its process."""
    runs = SelectedRuns((run,), {}, None)
    scope = Scope(tasks=True)
    with server.client() as client:
        return follow_runs(runs, client, ShowOptions(), FollowOptions(), scope, failing=failing)


def test_the_failure_of_the_process_ends_the_watch() -> None:
    """The run would go on for ever."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    failing = reactivex.throw(RxflowError("the flow's process failed with code 3"))
    with pytest.raises(RxflowError, match="failed with code 3"):
        follow_failing(server, run, failing)


def test_the_check_of_the_process_ends_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines are those of `rxflow watch --tasks`, but for the last: the server ends, too."""
    scene = CommandScene()
    assert follow_failing(scene.server, scene.run, reactivex.never()) is ExitStatus.COMPLETED
    *lines, more = scene.invoke("watch", scene.run, "--tasks").stdout.splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    assert more == f"  more       rxflow report {scene.run} -o run.html"
