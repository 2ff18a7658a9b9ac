"""`rxflow record` and `rxflow replay`: a night is written to a file, and shown again from it."""

import gzip
import re
import shlex
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import run_program, started_program
from command_scenes import CommandScene, invoke_on, messages
from msgspec.structs import replace
from recording_files import HEADER, line_of, lines_of
from sample_events import OTHER, RUN, closed, entered, line, row, second, seen
from terminals import Terminal
from virtual_world import TEST_TIMEOUT

import rxflow
from rxflow import FlowRunEvent, RunChanged
from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect3

UNKNOWN = "00000000-0000-4000-8000-000000000004"


@pytest.fixture(scope="module")
def scene() -> CommandScene:
    """A server with runs that are over; no test changes it."""
    return CommandScene()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a recording that does not exist yet."""
    return tmp_path / "night.jsonl"


@pytest.fixture
def night(scene: CommandScene, path: Path) -> Path:
    """A recording of a run with a subflow."""
    assert scene.invoke("record", scene.run, "-o", str(path)).exit_code == 0
    return path


def replay(path: Path, *arguments: str, at_once: bool = True) -> Result:
    """Run ``rxflow replay`` in this process, without a server."""
    options = ["--at-once"] if at_once else []
    return CliRunner().invoke(commands, ["replay", str(path), *options, *arguments])


# -- record ---------------------------------------------------------------------------------------


def test_a_run_is_recorded_with_its_subflow_and_task_runs(scene: CommandScene, path: Path) -> None:
    """Nothing is shown; a sentence says how many events the file has, and how to show them."""
    done = scene.invoke("record", scene.run, "-o", str(path))
    count = len(lines_of(path)) - 2
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == (
        f"rxflow: recorded {count} events in {path}; to show them: rxflow replay {path}\n"
    )
    kinds = {event.kind for event in rxflow.replay(path, None)}
    assert kinds == {"run-seen", "state", "log", "task-state", "closed"}


def test_the_status_is_that_of_a_watch(scene: CommandScene, path: Path) -> None:
    """Of a run that failed 1, of none 7, and 0 with --exit-zero; --quiet says nothing."""
    done = scene.invoke("record", scene.failed, "-o", str(path), "--quiet")
    assert (done.exit_code, done.output) == (1, "")
    options = ["-o", str(path), "--overwrite"]
    assert scene.invoke("record", scene.failed, *options, "--exit-zero").exit_code == 0
    assert scene.invoke("record", UNKNOWN, *options).exit_code == 7


def test_several_runs_are_recorded_together(scene: CommandScene, path: Path) -> None:
    """Those that filters find; a table says how each ended."""
    done = scene.invoke("record", "--tag", "prod", "-o", str(path), "--no-children")
    assert done.exit_code == 1
    assert "rxflow: 2 flow runs: 1 " in done.stderr
    runs = {event.flow_run_id for event in rxflow.replay(path, None)} - {""}
    assert runs == {scene.run, scene.failed}


def test_a_file_that_exists_is_kept(scene: CommandScene, path: Path) -> None:
    """Without --overwrite it is an error of usage, and the file is unchanged."""
    path.write_text("mine")
    done = scene.invoke("record", scene.run, "-o", str(path))
    assert done.exit_code == 2
    assert "exists; pass --overwrite to replace it" in done.stderr
    assert path.read_text() == "mine"


def test_a_recording_is_not_written_to_standard_output(
    scene: CommandScene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A dash is no name of a file: an error of usage says what writes events there."""
    monkeypatch.chdir(tmp_path)
    done = scene.invoke("record", scene.run, "-o", "-")
    assert (done.exit_code, done.stdout, [*tmp_path.iterdir()]) == (2, "", [])
    assert "name one, such as night.jsonl. rxflow watch -o jsonl writes events" in done.stderr


def test_a_full_disk_ends_the_command_with_a_sentence(scene: CommandScene) -> None:
    """The status says that the output cannot be written."""
    done = scene.invoke("record", scene.run, "-o", "/dev/full", "--overwrite")
    assert done.exit_code == 74
    assert "'/dev/full' cannot be written: No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["ctrl-c", "term"],
)
@pytest.mark.usefixtures("interruptible")
def test_a_signal_ends_the_recording_and_not_the_run(
    number: signal.Signals, status: int, word: str, path: Path
) -> None:
    """What came until then can be replayed, and a sentence says that the run goes on."""
    server = FakePrefect3()
    run = server.add_run(name="amber-fox", state="RUNNING")
    with (
        server.serve() as url,
        started_program("record", run, "-o", str(path), "--api-url", url) as program,
    ):
        for text in ("gathering", "counting"):  # what is read next was preceded by what is handled
            server.log(run, text)
            while not path.exists() or text.encode() not in path.read_bytes():
                assert program.poll() is None
        program.send_signal(number)
        _, errors = program.communicate(timeout=TEST_TIMEOUT)
    assert program.returncode == status
    assert f"rxflow: {word}; flow run 'amber-fox' ({run}) goes on" in errors
    assert [event.message for event in rxflow.replay(path, None).logs][:2] == [
        "gathering",
        "counting",
    ]


def test_the_time_limit_is_that_of_watch(path: Path) -> None:
    """Its status is 124, a sentence says what can go on, and the error is in the recording."""
    server = FakePrefect3()
    run = server.add_run(name="amber-fox", state="RUNNING")
    done = invoke_on(server, "record", run, "-o", str(path), "--timeout", "1s", "--no-children")
    assert done.exit_code == 124
    assert (
        "and is still in state Running; it goes on; a recording cannot be continued; to keep all "
        f"events across restarts: rxflow watch {run} --journal DIR --no-children --api-url http"
        in done.stderr
    )
    assert lines_of(path)[-1]["error"]["type"] == "WatchTimedOut"
    again = replay(path)
    assert again.exit_code == 124
    assert again.stderr == (
        f"rxflow: The watch that was recorded reached its time limit: Flow run {run} was watched "
        "for 1.0 s and is still in state Running\n"
    )


# -- replay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-o", "raw"],
        ["--template", "{{ run_name }} {{ task_name }} {{ message }}"],
        ["--head", "2", "--tasks"],
        ["-i", "pages", "--quiet"],
        ["--timestamps", "--utc"],
    ],
    ids=" ".join,
)
def test_a_replay_looks_as_the_watch_does(
    options: list[str], scene: CommandScene, night: Path
) -> None:
    """The same lines, the same summary and the same status, with each option."""
    watched = scene.invoke("watch", scene.run, *options)
    shown = replay(night, *options)
    report = f"rxflow report {scene.run} -o run.html"
    lines = watched.stdout.replace(report, f"rxflow report --from {night} -o run.html")
    assert (shown.stdout, shown.exit_code) == (lines, watched.exit_code)


def test_the_command_for_more_makes_a_report(scene: CommandScene, tmp_path: Path) -> None:
    """It has the path, quoted for a shell, and of several runs the one that is meant."""
    path = tmp_path / "two nights.jsonl"
    scene.invoke("record", scene.run, scene.failed, "-o", str(path))
    shown = [text.split()[1:] for text in replay(path).stdout.splitlines() if "  more  " in text]
    assert len(shown) == 2
    for words in shown:
        program, *arguments = shlex.split(" ".join(words))
        page = str(tmp_path / arguments[-1])
        done = CliRunner().invoke(commands, [*arguments[:-1], page])
        assert (program, done.exit_code) == ("rxflow", 0), done.output
        assert arguments[1] in {scene.run, scene.failed}


@pytest.mark.parametrize(
    "options", [["--level", "warning"], ["--tail", "2"], ["--tail", "0"]], ids=" ".join
)
def test_lines_are_selected_as_by_the_watch(
    options: list[str], scene: CommandScene, night: Path
) -> None:
    """The lines are those that the server selects for a watch; the summary counts all."""
    watched = scene.invoke("watch", scene.run, *options)
    shown = replay(night, *options)
    assert messages(shown.stdout) == messages(watched.stdout)
    assert "log lines  6 were read, as many as the server counts; those sel" in shown.stdout


def test_several_runs_look_as_in_the_watch(scene: CommandScene, path: Path) -> None:
    """In the order of their times, each line with the name of its run, and with the table."""
    scene.invoke("record", scene.run, scene.failed, "-o", str(path))
    watched = scene.invoke("watch", scene.run, scene.failed)
    shown = replay(path)
    assert messages(shown.stdout) == messages(watched.stdout)
    assert (shown.stderr, shown.exit_code) == (watched.stderr, 1)


def test_events_are_written_as_they_were(scene: CommandScene, path: Path) -> None:
    """With -o jsonl each of them is one line, of all kinds."""
    scene.invoke("record", scene.failed, "-o", str(path))
    lines = replay(path, "-o", "jsonl").stdout.splitlines()
    assert [rxflow.decode_event(text) for text in lines] == list(rxflow.replay(path, None))


def test_a_replay_takes_the_time_that_it_took(path: Path) -> None:
    """At a speed of 100 what came after 50 s is shown half a second later, and not at once."""
    path.write_bytes(HEADER + line_of(0, seen()) + line_of(50, line(message="late")))
    done = replay(path, "--speed", "100", at_once=False)
    assert "late" in done.stdout
    assert done.exit_code == 2
    assert done.stderr == f"rxflow: {path} ends before the runs are over\n"


CUT = {
    "no end": (seen(), line()),
    "a subflow's end": (seen(), replace(closed(run=OTHER), root=RUN)),
    "the end of one of two": (seen(), seen(run=OTHER), closed(run=OTHER)),
}


@pytest.mark.parametrize("events", CUT.values(), ids=CUT)
@pytest.mark.parametrize("options", [[], ["--quiet"]], ids=["loud", "quiet"])
def test_a_file_that_was_cut_off_is_not_whole(
    options: list[str], events: tuple[FlowRunEvent, ...], path: Path
) -> None:
    """The status is that of a malformed file, also where a run's end is the last event."""
    path.write_bytes(HEADER + b"".join(line_of(0, event) for event in events) + b'{"at":1,"ev')
    done = replay(path, *options)
    assert done.exit_code == 2
    assert done.stderr == f"rxflow: {path} ends before the runs are over\n"


def test_compressed_data_that_was_cut_off_is_not_whole(night: Path) -> None:
    """A quiet replay says so as well."""
    cut = night.with_suffix(".jsonl.gz")
    cut.write_bytes(gzip.compress(night.read_bytes())[:-200])
    done = replay(cut, "--quiet")
    assert (done.exit_code, done.stderr) == (2, f"rxflow: {cut} ends before the runs are over\n")


def test_the_file_of_a_subflow_in_a_journal_is_whole(path: Path) -> None:
    """It has nothing of the run that has started the subflow."""
    events = (replace(seen(run=OTHER), root=RUN), replace(closed(run=OTHER), root=RUN))
    path.write_bytes(HEADER + b"".join(line_of(0, event) for event in events))
    done = replay(path)
    assert (done.exit_code, done.stderr) == (0, "")


def test_the_error_of_the_watch_is_that_of_the_command(path: Path) -> None:
    """A recording of a run that was not found ends with that sentence and status."""
    server = FakePrefect3()
    recorded = invoke_on(server, "record", UNKNOWN, "-o", str(path))
    shown = replay(path)
    assert (shown.stderr, shown.exit_code) == (recorded.stderr, 7)


def test_a_malformed_line_ends_it_after_those_before(path: Path) -> None:
    """The status is that of malformed input, and the sentence has the line's number."""
    path.write_bytes(HEADER + line_of(0, seen()) + line_of(1, line(message="first")) + b"hello\n")
    done = replay(path)
    assert done.exit_code == 2
    assert "first" in done.stdout
    assert "cannot be replayed from its line 4 on" in done.stderr


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_is_a_number_above_zero(speed: str, night: Path) -> None:
    """Others are an error of usage."""
    done = replay(night, f"--speed={speed}", at_once=False)
    assert done.exit_code == 2
    assert "is not a number above 0, such as 60" in done.stderr


def test_a_speed_and_at_once_exclude_each_other(night: Path) -> None:
    """It is an error of usage, as a file that does not exist is."""
    done = replay(night, "--speed", "2")
    assert (done.exit_code, "pass one of them" in done.stderr) == (2, True)
    done = replay(night.parent / "none")
    assert (done.exit_code, "does not exist" in done.stderr) == (2, True)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_replay_that_waits(path: Path) -> None:
    """The status is 130, and nothing is said of runs that go on: they are of another time."""
    path.write_bytes(HEADER + line_of(0, line(message="first")) + line_of(3600, line()))
    with started_program("replay", str(path), "-o", "raw") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "first\n"
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=TEST_TIMEOUT)
    assert (program.returncode, errors) == (130, "rxflow: interrupted\n")


def test_a_reader_that_has_enough_ends_it(path: Path) -> None:
    """A closed pipe is no error to speak of: the status is 141, and standard error is empty."""
    path.write_bytes(HEADER + b"".join(line_of(0, line(message="x" * 500)) for _ in range(5_000)))
    with started_program("replay", str(path), "-o", "raw", "--at-once") as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr is not None
        assert program.stderr.read() == ""
        assert program.wait(TEST_TIMEOUT) == 141


def test_no_server_is_needed(night: Path, tmp_path: Path) -> None:
    """The program shows a recording where no server is configured."""
    done = run_program("replay", str(night), "--at-once", "--utc", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "120 orders read" in done.stdout


@pytest.mark.usefixtures("interruptible")
def test_on_a_terminal_it_is_the_live_view(path: Path) -> None:
    """The state of the run is below the lines, with durations in the time of the recording."""
    running = entered("Running", 5)
    changed = row("Running", 5)
    events: list[tuple[float, FlowRunEvent]] = [
        (0.0, seen()),
        (5.0, running),
        (5.0, RunChanged(flow_run_id=RUN, run=replace(changed, start_time=second(5)))),
        (6.0, line(6, "gathering")),
        (3600.0, line(3600, "much later")),
    ]
    header = b'{"rxflow_recording":1,"started":"2026-11-22T12:00:00Z"}\n'
    path.write_bytes(header + b"".join(line_of(at, event) for at, event in events))
    with Terminal("replay", str(path), "--speed", "10") as terminal:
        shown = terminal.wait(lambda lines: any("amber-fox  Running" in text for text in lines))
        (status,) = (text for text in shown if "amber-fox  Running" in text)
        assert re.search(r"Running  \d{1,2}(\.\d)? s", status), status
        terminal.interrupt()
        assert terminal.wait_for_end() == 130
