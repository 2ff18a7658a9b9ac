"""`--journal DIR`: a command goes on where an earlier one ended, however that was ended."""

import re
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result
from command_line import started_program
from command_scenes import CommandScene, StillClock, invoke_on, messages
from journal_files import events_in, largest_file
from reactivex import operators as ops
from terminals import Terminal
from virtual_world import TEST_TIMEOUT

import rxflow
from rxflow import FlowRunLog
from rxflow._runtime.journal_directory import JournalDirectory
from rxflow._watching.watch_spec import WatchSpec
from rxflow.cli._command_journal import CommandJournal, HeldSignals
from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect1, FakePrefect3


@pytest.fixture(scope="module")
def scene() -> CommandScene:
    """A server with runs that are over; no test changes it."""
    return CommandScene()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The path of a directory that does not exist yet."""
    return tmp_path / "night ly"


class LiveScene:
    """A server whose clock a test moves, with a run that goes on, and commands on it."""

    def __init__(self, journal: Path) -> None:
        """Add the run."""
        self.clock = StillClock()
        self.server = FakePrefect3(clock=self.clock)
        self.journal = journal
        self.run = self.server.add_run(name="amber-fox", state="RUNNING")
        self.url = ""

    def log(self, count: int, run: str | None = None) -> list[str]:
        """Let a run log lines, one a second; return their messages."""
        lines = [f"line {self.clock.time:%d %H:%M:%S} {number}" for number in range(count)]
        for text in lines:
            self.server.log(run or self.run, text)
            self.clock.move(1)
        return lines

    def end(self, state: str = "COMPLETED") -> None:
        """End the run; it has been over for an hour."""
        self.server.set_state(self.run, state)
        self.clock.move(3600)

    def arguments(self, *options: str, journal: Path | None = None) -> list[str]:
        """Return the command line of a watch of the run."""
        used = str(journal or self.journal)
        return ["watch", self.run, "--journal", used, "--utc", "--api-url", self.url, *options]

    def watch(self, *options: str, journal: Path | None = None) -> Result:
        """Watch the run to its end, in this process."""
        return CliRunner().invoke(commands, self.arguments(*options, journal=journal))

    @contextmanager
    def started(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Start a watch of the run as a process."""
        with started_program(*self.arguments(*options)) as program:
            yield program

    def read(self, program: subprocess.Popen[str], last: str) -> str:
        """Return what a command writes up to the line with a text."""
        assert program.stdout is not None
        written = ""
        for line in program.stdout:
            written += line
            if last in line:
                return written
        assert program.stderr is not None
        raise AssertionError(f"ended before {last!r}: {written}{program.stderr.read()}")

    def journaled(self, run: str | None = None) -> list[rxflow.FlowRunEvent]:
        """Return the events in the file of a run."""
        return events_in(self.journal / f"{run or self.run}.jsonl")


@pytest.fixture
def live(journal: Path) -> Iterator[LiveScene]:
    """A run that goes on."""
    scene = LiveScene(journal)
    with scene.server.serve() as scene.url:
        yield scene


# -- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "children"),
    [("text", []), ("jsonl", []), ("raw", ["--no-children"])],
    ids=["text", "jsonl", "raw-alone"],
)
def test_the_first_command_shows_what_one_without_a_journal_does(
    scene: CommandScene, journal: Path, output: str, children: list[str]
) -> None:
    """As it comes, as with --no-hold; the next one has nothing to show."""
    options = [scene.run, "-o", output, "--utc", *children]
    plain = scene.invoke("watch", *options, "--no-hold")
    first = scene.invoke("watch", *options, "--journal", str(journal))
    assert (first.stdout, first.stderr) == (plain.stdout, plain.stderr)
    again = scene.invoke("watch", *options, "--journal", str(journal))
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "rxflow: nothing is new\n")
    assert scene.invoke("watch", *options, "--journal", str(journal), "-q").stderr == ""


@pytest.mark.parametrize(
    ("kind", "status"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 3), ("CANCELLED", 5)]
)
def test_the_status_is_that_of_the_run_though_nothing_is_new(
    scene: CommandScene, journal: Path, kind: str, status: int
) -> None:
    """Each command on a run that is over ends as the first one did."""
    command = ["watch", scene.ended[kind], "--journal", str(journal)]
    done = [scene.invoke(*command) for _ in range(2)]
    assert [each.exit_code for each in done] == [status, status]
    assert done[1].stdout == ""
    assert scene.invoke(*command, "--exit-zero").exit_code == 0


def test_several_runs_end_in_the_same_table(scene: CommandScene, journal: Path) -> None:
    """It is about all of them, so each command writes it, and has the status of the worst."""
    command = ["watch", scene.run, scene.failed, "--journal", str(journal)]
    first, again = scene.invoke(*command), scene.invoke(*command)
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert again.stdout == ""
    *table, last = again.stderr.splitlines()
    assert sorted(table) == sorted(first.stderr.splitlines())
    assert last == "rxflow: nothing is new"
    assert "amber-fox/sift-0: sifted" in messages(first.stdout)
    written = scene.invoke(*command, "-o", "jsonl").stdout.splitlines()
    assert [rxflow.decode_event(line).kind for line in written] == ["all-closed"]


def test_runs_that_are_found_go_on_with_those_of_the_journal(
    live: LiveScene, journal: Path
) -> None:
    """A run that was not over is followed to its end, whether it matches the filters or not."""
    with started_program(
        *["watch", "--state", "running", "--journal", str(journal), "--api-url", live.url]
    ) as program:
        live.read(program, "Entered state Running")
    live.log(2)
    live.end("FAILED")
    arguments = ["--state", "running", "--journal", str(journal), "--api-url", live.url]
    done = CliRunner().invoke(commands, ["watch", *arguments])
    assert done.exit_code == 1
    assert len([line for line in messages(done.stdout) if line.startswith("amber-fox: l")]) == 2
    assert "Flow run 'amber-fox'" in done.stdout


def test_options_select_what_is_shown_and_not_what_is_kept(live: LiveScene) -> None:
    """Each command may show other lines; the journal has all, and later commands go on."""
    live.server.log(live.run, "quiet", level=10)
    live.clock.move(1)
    with live.started("--level", "info", "--since", "2026-11-22T12:00:01Z") as program:
        live.read(program, "Entered state Running")
        live.server.log(live.run, "loud")
        live.read(program, "loud")
    live.server.log(live.run, "debug", level=10)
    live.end()
    done = live.watch("--level", "debug")
    assert messages(done.stdout) == ["debug", "Entered state Completed"]
    assert "3 were read, as many as the server counts; those selected are shown" in done.stdout
    lines = [event.message for event in live.journaled() if isinstance(event, FlowRunLog)]
    assert lines == ["quiet", "loud", "debug"]


def test_the_end_says_that_a_level_selects_lines(scene: CommandScene, journal: Path) -> None:
    """All are read and counted, as of a recording."""
    command = ["watch", scene.run, "--no-children", "--journal", str(journal)]
    done = scene.invoke(*command, "--level", "warning")
    assert "5 were read, as many as the server counts; those selected are shown" in done.stdout


def test_the_first_lines_are_those_of_each_command(live: LiveScene) -> None:
    """--head counts none of those that an earlier command has shown, and all of those it leaves."""
    first = live.log(2)
    with live.started("--head", "3") as program:
        live.read(program, first[1])
    more = live.log(4)
    live.end()
    shown = messages(live.watch("--head", "3").stdout)
    assert shown == [*more[:3], "Entered state Completed"]


def test_a_log_is_read_in_parts(live: LiveScene) -> None:
    """By commands that end after some lines, none of which is left out between two of them."""
    lines = live.log(5)
    live.end()
    words = ["logs", "-f", *live.arguments("--head", "2")[1:]]
    parts = [messages(CliRunner().invoke(commands, words).stdout) for _ in range(3)]
    assert parts == [lines[:2], lines[2:4], lines[4:]]


def test_log_lines_alone_can_be_followed(live: LiveScene) -> None:
    """By `rxflow logs -f`, whose journal is that of `rxflow watch`, too."""
    first = live.log(2)
    words = live.arguments()[1:]
    with started_program("logs", "-f", *words) as program:
        assert messages(live.read(program, first[1])) == first
    live.end("FAILED")
    done = live.watch()
    assert (done.exit_code, messages(done.stdout)) == (1, ["Entered state Failed"])
    again = CliRunner().invoke(commands, ["logs", "-f", *words])
    assert (again.exit_code, again.stdout) == (1, "")


def test_on_prefect_1_nothing_is_new_after_the_end(journal: Path) -> None:
    """Though it does not know subflows, which the first watch says in the journal."""
    clock = StillClock()
    server = FakePrefect1(clock=clock)
    run = server.add_run(state="Running")
    server.set_state(run, "Failed")
    clock.move(3600)
    done = [invoke_on(server, "watch", run, "--journal", str(journal)) for _ in range(3)]
    assert [each.exit_code for each in done] == [1, 1, 1]
    assert [each.stdout for each in done[1:]] == ["", ""]
    kinds = [event.kind for event in events_in(journal / f"{run}.jsonl")]
    assert (kinds.count("notice"), kinds[-1]) == (1, "closed")


def test_a_run_that_goes_on_after_its_end_is_shown_on(live: LiveScene) -> None:
    """With its name, and with its new end; the status is the new one."""
    live.end("FAILED")
    assert live.watch().exit_code == 1
    live.server.set_state(live.run, "RUNNING")
    lines = live.log(2)
    live.end()
    done = live.watch()
    assert done.exit_code == 0
    assert {"Entered state Running", *lines, "Entered state Completed"} < {*messages(done.stdout)}
    assert "Flow run 'amber-fox'" in done.stdout
    assert "Running > Failed > Running > Completed" in done.stdout


def test_the_end_of_raw_lines_counts_the_lines_of_earlier_commands(live: LiveScene) -> None:
    """Those of a subflow that was closed before, too."""
    child = live.server.add_run(name="publish", state="RUNNING", parent=live.run)
    live.log(3, child)
    live.server.set_state(child, "COMPLETED")
    live.clock.move(3600)
    with live.started("-o", "jsonl") as program:
        live.read(program, '"kind":"closed"')
    live.log(2)
    live.end()
    done = live.watch("-o", "raw")
    assert "; 5 log lines, verified" in done.stderr


def test_a_second_command_on_a_terminal_knows_the_run(live: LiveScene) -> None:
    """Its state is below the lines, before anything is new."""
    first = live.log(1)
    with live.started() as program:
        live.read(program, first[0])
    with Terminal(*live.arguments()) as terminal:
        shown = terminal.wait(lambda lines: any("amber-fox  Running" in text for text in lines))
        assert not any(first[0] in text for text in shown)
        (more,) = live.log(1)
        terminal.wait(more)
        live.end()
        assert terminal.wait_for_end() == 0
        assert any("Flow run 'amber-fox'" in text for text in terminal.all_lines())


# -- however a command ends -----------------------------------------------------------------------


def test_the_output_of_killed_commands_is_that_of_one(live: LiveScene, tmp_path: Path) -> None:
    """Killed while they wait, their lines follow on one another: names, days, and the summary."""
    task_run = live.server.add_task_run(live.run, name="load-0", state="RUNNING")
    child = live.server.add_run(name="publish", state="RUNNING", parent=live.run)
    written = ""
    for number in range(3):
        live.server.log(live.run, f"loaded {number}", task_run_id=task_run)
        live.log(2, child)
        (last,) = live.log(1)
        with live.started() as program:
            written += live.read(program, last)
            if number == 1:  # something comes while it waits
                live.server.log(child, "late to the night")
                written += live.read(program, "late to the night")
            program.kill()
        live.clock.move(24 * 3600)
    live.server.set_state(child, "COMPLETED")
    live.server.set_task_state(live.run, task_run, "COMPLETED")
    live.end()
    done = live.watch()
    whole = live.watch(journal=tmp_path / "another")
    written += done.stdout
    assert done.exit_code == whole.exit_code == 0
    assert Counter(written.splitlines()) == Counter(whole.stdout.splitlines())
    assert written.split("\n\n")[1] == whole.stdout.split("\n\n")[1]  # the summary
    assert "load-0: loaded 2" in written
    assert "publish: late to the night" in written


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_each_line_comes_once_wherever_a_command_is_ended(
    live: LiveScene, number: signal.Signals
) -> None:
    """Only the event with which a process is killed outright may be in the journal alone."""
    lines = live.log(400)
    live.end()
    random = Random(number.name)
    written: list[str] = []
    ends = 0
    while True:
        with live.started("-o", "raw") as program:
            assert program.stdout is not None
            wanted = random.randint(20, 160)
            some = [*islice(program.stdout, wanted)]
            if len(some) == wanted:
                program.send_signal(number)
            written += [*some, *program.stdout]
            _, errors = program.communicate(timeout=TEST_TIMEOUT)
        assert "Traceback" not in errors
        if program.returncode == 0:
            break
        assert program.returncode in {143, -signal.SIGKILL}
        ends += 1
    assert ends >= 2
    journaled = [event for event in live.journaled() if isinstance(event, FlowRunLog)]
    assert [event.message for event in journaled] == lines
    shown = [line.rstrip("\n") for line in written if line.startswith("line")]
    assert shown == [line for line in lines if line in {*shown}]
    lost = len(lines) - len(shown)
    assert lost <= (ends if number == signal.SIGKILL else 0)


@pytest.mark.usefixtures("interruptible")
def test_the_way_back_has_the_journal(live: LiveScene) -> None:
    """Quoted for a shell; it names the run, whose name an earlier command has read."""
    (first,) = live.log(1)
    with live.started() as program:
        live.read(program, first)
    with live.started() as program:
        (second,) = live.log(1)
        live.read(program, second)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=TEST_TIMEOUT)
    back = f"rxflow watch {live.run} --journal '{live.journal}' --utc --api-url {live.url}"
    assert errors == (
        f"rxflow: interrupted; flow run 'amber-fox' ({live.run}) goes on; to come back: {back}\n"
    )


class Ended(Exception):
    """What the handler of a signal raises."""


def end_at_once(*_: object) -> None:
    """Handle a signal."""
    raise Ended


@pytest.mark.parametrize("where", ["handed on", "shown"])
def test_a_signal_waits_until_what_was_appended_is_shown(live: LiveScene, where: str) -> None:
    """Whether it comes before the event is handed on, or while it is shown."""
    live.log(2)
    journal = CommandJournal(str(live.journal), live.run, ())
    watch = rxflow.watch_flow_run(live.run, client=live.server.client(), **journal.reading)
    shown: list[rxflow.FlowRunEvent] = []

    def signal_at(step: str, event: object) -> None:
        if step == where and isinstance(event, FlowRunLog):
            signal.raise_signal(signal.SIGTERM)

    stream = watch.pipe(ops.do_action(lambda event: signal_at("handed on", event)))

    def show_all() -> None:
        with closing(journal.shown(iter(stream))) as events, journal.signals:
            for event in events:
                signal_at("shown", event)
                shown.append(event)

    before = signal.signal(signal.SIGTERM, end_at_once)
    try:
        with pytest.raises(Ended):
            show_all()
        assert signal.getsignal(signal.SIGTERM) is end_at_once
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [event.kind for event in shown] == ["run-seen", "state", "log"]
    assert shown == live.journaled()


def test_a_held_signal_waits_and_a_second_one_does_not() -> None:
    """After the block the handler is the one of before."""
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    own = signal.getsignal(signal.SIGTERM)
    try:
        held = HeldSignals()
        with held:
            signal.raise_signal(signal.SIGTERM)
            assert len(got) == 1
            held.hold()
            signal.raise_signal(signal.SIGTERM)
            assert len(got) == 1
            held.release()
            assert len(got) == 2
            held.hold()
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert len(got) == 3
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--journal", "night", "--tail", "3"], "pass one of the two"),
        (["--journal", ""], "Invalid value for '--journal': pass the path of a directory"),
        (["--on-full", "continue"], "pass --journal DIR as well"),
    ],
    ids=["tail", "empty", "on-full"],
)
@pytest.mark.parametrize("command", [["watch"], ["logs", "-f"]], ids=" ".join)
def test_options_that_contradict_each_other_are_a_usage_error(
    scene: CommandScene, command: list[str], options: list[str], error: str
) -> None:
    """Before anything is read or written."""
    done = scene.invoke(*command, scene.run, *options)
    assert (done.exit_code, error in done.stderr) == (2, True), done.stderr
    assert not Path("night").exists()


def test_a_journal_is_for_following(scene: CommandScene, journal: Path) -> None:
    """`rxflow logs` without -f has none."""
    done = scene.invoke("logs", scene.run, "--journal", str(journal))
    assert (done.exit_code, "pass -f as well" in done.stderr) == (2, True)


def foreign(journal: Path, run: str, server: FakePrefect3) -> None:  # noqa: ARG001
    """Put a file of something else in it."""
    journal.mkdir()
    (journal / f"{run}.jsonl").write_text("not a journal\n")


def of_another_watch(journal: Path, run: str, server: FakePrefect3) -> None:
    """Let a watch of errors alone have it."""
    client = server.client()
    list(rxflow.watch_flow_runs([run], level=40, drain=0, journal=journal, client=client))


def damaged(journal: Path, run: str, server: FakePrefect3) -> None:
    """Damage a line."""
    client = server.client()
    watch = rxflow.watch_flow_runs([run], stream_tasks=True, journal=journal, client=client)
    list(watch)
    file = journal / f"{run}.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"kind":"state"', b'"kind":"stale"', 1))


def a_file(journal: Path, run: str, server: FakePrefect3) -> None:  # noqa: ARG001
    """Put a file in its place."""
    journal.touch()


@pytest.mark.parametrize(
    ("spoil", "status", "error"),
    [
        (foreign, 2, "does not begin as a journal does. It was left as it is; pass another"),
        (of_another_watch, 2, "with stream_tasks=False and not True; level=40 and not 0"),
        (damaged, 2, "its line 3 is not an event"),
        (a_file, 2, "Invalid value for '--journal'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_journal_that_cannot_be_used_is_a_sentence(
    scene: CommandScene,
    journal: Path,
    spoil: Callable[[Path, str, FakePrefect3], None],
    status: int,
    error: str,
) -> None:
    """It names the option, and leaves the journal as it is."""
    spoil(journal, scene.failed, scene.server)
    before = {path: path.read_bytes() for path in journal.rglob("*.jsonl")}
    done = scene.invoke("watch", scene.failed, "--journal", str(journal))
    assert (done.exit_code, done.stdout) == (status, "")
    assert error in done.stderr.splitlines()[-1]
    assert "--journal" in done.stderr.splitlines()[-1]
    assert before == {path: path.read_bytes() for path in journal.rglob("*.jsonl")}


def test_a_journal_that_another_command_has_open_is_status_74(
    scene: CommandScene, journal: Path
) -> None:
    """The sentence says which process that is."""
    other = JournalDirectory(str(journal), WatchSpec(flow_run_id=""))
    with closing(other):
        assert other.open() is None
        done = scene.invoke("watch", scene.failed, "--journal", str(journal))
    assert (done.exit_code, done.stdout) == (74, "")
    assert done.stderr.endswith(
        "is in use by another watch of this process; end that one first, or pass another directory "
        "as --journal\n"
    )


def test_a_directory_that_cannot_be_created_is_status_74(
    scene: CommandScene, journal: Path
) -> None:
    """As other output that cannot be written."""
    done = scene.invoke("watch", scene.failed, "--journal", str(journal / "too" / "deep"))
    assert (done.exit_code, done.stdout) == (74, "")
    assert "cannot be opened: No such file or directory" in done.stderr


def test_a_full_disk_ends_the_command_unless_it_is_to_continue(
    scene: CommandScene, journal: Path
) -> None:
    """Then a notice says so, and all is shown."""
    command = ["watch", scene.long, "--journal", str(journal)]
    with largest_file(20_000):
        done = scene.invoke(*command)
    assert done.exit_code == 74
    assert done.stderr.splitlines()[-1].endswith("cannot be written: File too large")
    shown = messages(done.stdout)
    with largest_file(20_000):
        rest = scene.invoke(*command, "--on-full", "continue")
    assert rest.exit_code == 0, rest.output
    more = messages(rest.stdout)
    assert "goes on without" in more[0]
    lines = [line for line in (*shown, *more) if re.match("even|odd", line)]
    assert lines == [f"{'even' if number < 10 else 'odd'} {number}" for number in range(450)]


# -- commands that take the files -----------------------------------------------------------------


@pytest.fixture
def kept(scene: CommandScene, journal: Path) -> Path:
    """The journal of the run and its subflow, to which two commands have contributed."""
    limits = dict[str, Any](stream_tasks=True, subflows=True, client=scene.server.client())
    watch = rxflow.watch_flow_run(scene.run, journal=journal, **limits)
    events = iter(watch)
    list(islice(events, 4))
    events.close()
    assert scene.invoke("watch", scene.run, "--journal", str(journal)).exit_code == 0
    return journal


def test_the_file_of_a_run_is_compared_with_the_server(scene: CommandScene, kept: Path) -> None:
    """Of a subflow, too."""
    for run in (scene.run, scene.subflow):
        done = scene.invoke("audit", run, str(kept / f"{run}.jsonl"))
        assert done.exit_code == 0, done.output


def test_the_file_of_a_run_is_replayed(scene: CommandScene, kept: Path) -> None:
    """As the run was shown, without its subflows."""
    watched = scene.invoke("watch", scene.run, "--no-children", "--utc")
    path = kept / f"{scene.run}.jsonl"
    done = CliRunner().invoke(commands, ["replay", str(path), "--at-once", "--utc"])
    report = f"rxflow report --from {shlex.quote(str(path))} -o run.html"
    lines = watched.stdout.replace(f"rxflow report {scene.run} -o run.html", report)
    assert (done.exit_code, done.stdout) == (0, lines)


def test_the_file_of_a_run_makes_a_report(scene: CommandScene, kept: Path, tmp_path: Path) -> None:
    """That of a subflow as well, without the run that started it."""
    for run, name in ((scene.run, "amber-fox"), (scene.subflow, "publish")):
        page = tmp_path / f"{name}.html"
        words = ["report", "--from", str(kept / f"{run}.jsonl"), "-o", str(page)]
        done = CliRunner().invoke(commands, words)
        assert done.exit_code == 0, done.output
        assert name in page.read_text()
