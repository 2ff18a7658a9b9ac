"""The command line on servers of both kinds; as a program of its own it is run in tests/real."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from rxflow.cli._commands import commands
from rxflow.testing import FakePrefect1, FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.time


def past(backend: str) -> tuple[FakePrefect1 | FakePrefect3, str]:
    """Make a server with a run that was over an hour ago."""
    clock = Clock()
    server: FakePrefect1 | FakePrefect3
    if backend == "prefect1":
        server = FakePrefect1(clock=clock)
        run_id = server.add_run(name="amber-fox", state="Running")
        server.log(run_id, "120 orders read")
        server.set_state(run_id, "Success")
    else:
        server = FakePrefect3(clock=clock)
        run_id = server.add_run(name="amber-fox", state="RUNNING")
        server.log(run_id, "120 orders read")
        server.set_state(run_id, "COMPLETED")
    clock.time += timedelta(hours=1)
    return server, run_id


@pytest.mark.parametrize("said", [True, False], ids=["said", "asked"])
@pytest.mark.parametrize("backend", ["prefect1", "prefect3"])
def test_a_run_is_watched_on_either_server(backend: str, said: bool) -> None:
    """Whether someone says what the server is or it is asked, a run is shown, and its end."""
    server, run_id = past(backend)
    option = ["--backend", backend] if said else []
    with server.serve() as url:
        done = CliRunner().invoke(commands, ["watch", run_id, "--api-url", url, *option])
    assert done.exit_code == 0, done.output
    assert "120 orders read" in done.output
    assert "amber-fox" in done.output


def test_a_server_is_of_a_known_kind() -> None:
    """What no server is, is refused with the names of those that there are."""
    done = CliRunner().invoke(commands, ["watch", "x", "--backend", "prefect2"])
    assert done.exit_code == 2
    assert "'prefect3', 'prefect1'" in done.output
