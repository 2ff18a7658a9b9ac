"""A server with runs that are over, and the commands of rxflow on it."""

from datetime import UTC, datetime, timedelta

from click.testing import CliRunner, Result

from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect1, FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""When the runs of a scene began."""


class StillClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


class CommandScene:
    """A server with a run and its subflow, both over for an hour, and another run.

    The run ``amber-fox`` logs at each second after noon: 0 a line, 1 one of its task run
    ``sift-0``, 2 a line of the subflow ``publish``, 3 a warning, 4 an error, 5 a line of level 25.

    Attributes:
        server: The server.
        run: The id of ``amber-fox``, which completed.
        subflow: The id of ``publish``.
        failed: The id of ``grey-owl``, which failed, with a line at second 2.5.
        ended: The ids of runs that ended in a state of each type.
        long: The id of a run of 450 lines, the first ten of which are even.
    """

    def __init__(self) -> None:
        clock = StillClock()
        server = self.server = FakePrefect3(clock=clock)
        run = self.run = server.add_run(name="amber-fox", state="RUNNING", tags=["prod"])
        server.log(run, "120 orders read")
        clock.move(1)
        task_run = server.add_task_run(run, name="sift-0", state="RUNNING")
        server.log(run, "sifted", task_run_id=task_run)
        clock.move(1)
        subflow = self.subflow = server.add_run(name="publish", state="RUNNING", parent=run)
        server.log(subflow, "3 pages published")
        server.set_state(subflow, "COMPLETED")
        clock.move(0.5)
        failed = self.failed = server.add_run(name="grey-owl", state="RUNNING", tags=["prod"])
        server.log(failed, "not a mouse")
        server.set_state(failed, "FAILED")
        clock.move(0.5)
        server.log(run, "2 have no price", level=30)
        clock.move(1)
        server.log(run, "one is \x1b[31mlost", level=40)
        clock.move(1)
        server.log(run, "custom", level=25)
        server.set_task_state(run, task_run, "COMPLETED")
        server.set_state(run, "COMPLETED")
        self.ended = {
            kind: server.add_run(state=kind)
            for kind in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        }
        self.long = server.add_run(state="RUNNING")
        for number in range(450):
            server.log(self.long, f"{'even' if number < 10 else 'odd'} {number}")
        server.set_state(self.long, "COMPLETED")
        clock.move(3600)

    def invoke(self, command: str, *arguments: str, **environment: str) -> Result:
        """Run a command on the server, in this process."""
        return invoke_on(self.server, command, *arguments, **environment)


def invoke_on(
    server: FakePrefect1 | FakePrefect3, command: str, *arguments: str, **environment: str
) -> Result:
    """Run a command on a server, in this process."""
    with server.serve() as url:
        words = [command, *arguments, "--api-url", url]
        return CliRunner().invoke(commands, words, env=environment)


def messages(output: str) -> list[str]:
    """Return what is behind the bar of each line."""
    return [line.partition(" | ")[2] for line in output.splitlines() if " | " in line]
