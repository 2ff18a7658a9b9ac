"""The live view in a real pseudo-terminal: the command is a process, and its screen is asserted."""

import re
import signal
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from hostile_lines import ALL, LONG
from reactivex import Subject
from reactivex import operators as ops
from sample_events import line, seen
from terminals import Terminal, without_times

import rxflow
from rxflow import FlowRunEvent
from rxflow._runtime.clocks import real_now
from rxflow.cli._live import refreshed
from rxflow.testing import FakePrefect3

WIDTHS = [60, 80, 140]

REASON = "Flow run encountered an exception: ValueError: no orders in the north warehouse"


class ShiftedClock:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return real_now().utc + self.ahead


class Scene:
    """A server over HTTP with a run that goes on."""

    def __init__(self, server: FakePrefect3, clock: ShiftedClock, url: str) -> None:
        self.server = server
        self.url = url
        self._clock = clock
        self.run = server.add_run(name="amber-fox", state="RUNNING")
        server.log(self.run, "fetching the orders of 3 regions")

    def watch(self, *options: str, columns: int = 80, **more: object) -> Terminal:
        """Start the command in a terminal."""
        arguments = ["watch", self.run, "--api-url", self.url, *options]
        return Terminal(*arguments, columns=columns, **more)  # type: ignore[arg-type]

    def end(self, state: str = "COMPLETED", message: str | None = None) -> None:
        """End the run; it has been over for so long that no line is late any more."""
        self.server.set_state(self.run, state, message=message)
        self._clock.ahead += timedelta(minutes=5)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A server with a run."""
    clock = ShiftedClock()
    server = FakePrefect3(clock=clock)
    with server.serve() as url:
        yield Scene(server, clock, url)


def region(lines: list[str]) -> list[str]:
    """The state of the runs, which is below the rule; empty if there is none."""
    rules = [at for at, line in enumerate(lines) if line.startswith("─────")]
    return without_times(lines[rules[-1] + 1 :]) if rules else []


# -- what is shown ------------------------------------------------------------------------------

PROGRESS = {
    60: [
        "fake-flow / amber-fox  Running  N s",
        "  ━━━━━━━━━━━━━───────  2 of 3 task runs: 1 completed, 1",
        "                        running, 1 failed",
        "  running  render_page-0",
        "  failed   check_prices-0",
    ],
    80: [
        "fake-flow / amber-fox  Running  N s",
        "  ━━━━━━━━━━━━━━━━━─────────  2 of 3 task runs: 1 completed, 1 running, 1",
        "                              failed",
        "  running  render_page-0",
        "  failed   check_prices-0",
    ],
    140: [
        "fake-flow / amber-fox  Running  N s",
        f"  {'━' * 26}{'─' * 14}  2 of 3 task runs: 1 completed, 1 running, 1 failed",
        "  running  render_page-0",
        "  failed   check_prices-0",
    ],
}

LAST_LINES = {
    60: [
        "TIME         ERROR    | Entered state Failed: Flow run",
        "                      | encountered an exception:",
        "                      | ValueError: no orders in the north",
        "                      | warehouse",
    ],
    80: [
        "TIME         ERROR    | Entered state Failed: Flow run encountered an exception:",
        "                      | ValueError: no orders in the north warehouse",
    ],
    140: [f"TIME         ERROR    | Entered state Failed: {REASON}"],
}

STATE = {
    60: [
        "  state      Failed: Flow run encountered an exception:",
        "             ValueError: no orders in the north warehouse",
    ],
    80: [
        "  state      Failed: Flow run encountered an exception: ValueError: no orders in",
        "             the north warehouse",
    ],
    140: [f"  state      Failed: {REASON}"],
}


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_run_from_its_first_line_to_its_end(scene: Scene, columns: int) -> None:
    """The lines, the state below them, and at the end the summary, wrapped at the width."""
    server, run = scene.server, scene.run
    tasks = [
        server.add_task_run(run, name=name, state="RUNNING")
        for name in ("fetch_orders-0", "check_prices-0", "render_page-0")
    ]
    with scene.watch(columns=columns, lines=40) as terminal:
        terminal.wait("running  fetch_orders-0, check_prices-0, render_page-0")
        # Lines are held back, and the flow's name is read, while the state is shown.
        terminal.wait("| fetching the orders of 3 regions")
        terminal.wait("fake-flow / amber-fox")
        server.set_task_state(run, tasks[0], "COMPLETED")
        server.set_task_state(run, tasks[1], "FAILED")
        lines = terminal.wait("failed   check_prices-0")
        assert region(lines) == PROGRESS[columns]
        shown = without_times(lines)
        assert shown[0].startswith(f"Flow run 'amber-fox' ({run}), created"[: columns - 1])
        assert "TIME         INFO     | fetching the orders of 3 regions" in shown
        server.log(run, "no orders\nValueError: no orders", level=40, task_run_id=tasks[1])
        server.set_task_state(run, tasks[2], "COMPLETED")
        scene.end("FAILED", REASON)
        assert terminal.wait_for_end() == 1
        shown = without_times(terminal.lines())
        assert region(shown) == []
        at = shown.index(LAST_LINES[columns][0])
        assert shown[at:] == [
            *LAST_LINES[columns],
            "",
            f"Flow run 'amber-fox' ({run})",
            *STATE[columns],
            "  duration   N s",
            "  states     Running > Failed",
            "  task runs  3: 2 completed, 1 failed",
            "  failed     check_prices-0",
            "  error      TIME         check_prices-0",
            "             no orders",
            "             ValueError: no orders",
            "  log lines  2, as many as the server counts",
            *more_of(run, columns),
        ]
        assert terminal.is_as_before


def more_of(run: str, columns: int) -> list[str]:
    """The last line, which the terminal breaks."""
    line = f"  more       rxflow report {run} -o run.html"
    return [line[start : start + columns] for start in range(0, len(line), columns)]


def test_lines_scroll_above_the_state(scene: Scene) -> None:
    """All are there, in order and once, however many come, and no row is left among them."""
    with scene.watch() as terminal:
        terminal.wait("fake-flow / amber-fox  Running")
        for number in range(100):
            scene.server.log(scene.run, f"line {number}")
        # What was read may end within a frame.
        state = ["fake-flow / amber-fox  Running  N s"]
        terminal.wait(lambda rows: region(rows) == state and rows[-3].endswith("| line 99"))
        scene.end()
        assert terminal.wait_for_end() == 0
    numbers = re.findall(r"\| line (\d+)$", "\n".join(terminal.all_lines()), re.MULTILINE)
    assert numbers == [str(number) for number in range(100)]
    assert "────" not in "\n".join(terminal.all_lines())


def test_a_wait_is_explained(scene: Scene) -> None:
    """A run that is over is drained."""
    with scene.watch() as terminal:
        terminal.wait("fake-flow / amber-fox  Running")
        scene.server.set_state(scene.run, "COMPLETED")
        lines = terminal.wait("The run is over; waiting for late lines, ")
        assert region(lines)[0] == "fake-flow / amber-fox  Completed  N s"


def test_a_long_history_takes_few_frames(scene: Scene) -> None:
    """Frames are drawn some times a second, however many lines come."""
    for number in range(3_000):
        scene.server.log(scene.run, f"line {number}")
    scene.end()
    with scene.watch() as terminal:
        assert terminal.wait_for_end() == 0
    assert terminal.written.count(b"\x1b[?25l") < 100
    assert len([line for line in terminal.all_lines() if "| line " in line]) == 3_000


def test_many_runs_have_a_row_each(scene: Scene) -> None:
    """Those of subflows are below the run that started them."""
    server = scene.server
    other = server.add_run(name="shy-newt", flow="billing", state="SCHEDULED")
    server.add_run(name="lucky-bee", state="RUNNING", parent=scene.run)
    with scene.watch(other) as terminal:
        terminal.wait("amber-fox: fetching the orders")
        expected = [
            "3 runs: 2 running, 1 scheduled",
            "  fake-flow / amber-fox    Running    N s  ────────────  0 of 1",
            "    fake-flow / lucky-bee  Running    N s",
            "  billing / shy-newt       Scheduled",
        ]
        terminal.wait(lambda rows: region(rows) == expected)


# -- the terminal -------------------------------------------------------------------------------


def test_the_state_follows_the_size_of_the_terminal(scene: Scene) -> None:
    """It is drawn for the new width, and nothing is left of the old one."""
    scene.server.add_task_run(scene.run, name="fetch_orders-0", state="RUNNING")
    with scene.watch() as terminal:
        terminal.wait("running  fetch_orders-0")
        for columns in (60, 110, 40, 80):
            terminal.resize(columns, 24)
            rule = "─" * (columns - 1)
            terminal.wait(lambda lines, rule=rule: rule in lines)  # type: ignore[misc]
            lines = terminal.wait("running  fetch_orders-0")
            assert [line for line in lines if line.startswith("──────")] == [rule]
            assert len([line for line in lines if "amber-fox  Running" in line]) == 1


def test_a_terminal_without_room_has_lines_alone(scene: Scene) -> None:
    """The state comes back with the room."""
    with scene.watch(lines=6) as terminal:
        terminal.wait("fetching the orders")
        scene.server.log(scene.run, "next")
        assert region(terminal.wait("next")) == []
        terminal.resize(80, 12)
        terminal.wait("amber-fox  Running")


def test_ctrl_c_restores_the_terminal(scene: Scene) -> None:
    """The state is erased, the lines stay, and the run goes on."""
    with scene.watch() as terminal:
        terminal.wait("| fetching the orders")
        terminal.wait("amber-fox  Running")
        terminal.interrupt()
        assert terminal.wait_for_end() == 130
        assert region(terminal.lines()) == []
        shown = without_times(terminal.lines())
        assert shown[-4].endswith("| fetching the orders of 3 regions")
        assert " ".join(shown[-3:]) == (
            f"rxflow: interrupted; flow run 'amber-fox' ({scene.run}) goes on; "
            f"to come back: rxflow watch {scene.run} --api-url {scene.url}"
        )
        assert terminal.is_as_before


def test_sigterm_restores_the_terminal(scene: Scene) -> None:
    """As Ctrl-C does."""
    with scene.watch() as terminal:
        terminal.wait("amber-fox  Running")
        terminal.send(signal.SIGTERM)
        assert terminal.wait_for_end() == 143
        assert region(terminal.lines()) == []
        assert terminal.is_as_before


def test_an_error_restores_the_terminal(scene: Scene) -> None:
    """The sentence about it stands below the lines."""
    with scene.watch("--timeout", "1s") as terminal:
        assert terminal.wait_for_end() == 124
        assert any("amber-fox" in line for line in terminal.lines())
        assert region(terminal.lines()) == []
        assert any(line.startswith("rxflow: Flow run") for line in terminal.lines())
        assert terminal.is_as_before


def test_a_run_that_is_deleted_is_not_found(scene: Scene) -> None:
    """Its watch cannot be verified, and the summary says why."""
    with scene.watch() as terminal:
        terminal.wait("amber-fox  Running")
        scene.server.delete_run(scene.run)
        assert terminal.wait_for_end() == 7
        assert any("not verified: The flow run was deleted" in line for line in terminal.lines())
        assert terminal.is_as_before


def test_a_run_that_is_cancelled_by_ctrl_c_is_followed_to_its_end(scene: Scene) -> None:
    """The sentences about it are among the lines, and not in the state of the run."""
    with scene.watch("--cancel-on-interrupt", columns=70) as terminal:
        terminal.wait("amber-fox  Running")
        terminal.interrupt()
        terminal.wait("rxflow: cancelling flow run")
        lines = terminal.wait("amber-fox  Cancelling")
        assert "another Ctrl-C leaves at once" in [line.rstrip() for line in lines]
        assert [line for line in lines if "leaves at once" in line and "─" in line] == []
        scene.end("CANCELLED")
        assert terminal.wait_for_end() == 5
        assert terminal.is_as_before


def test_a_killed_command_leaves_a_usable_terminal(scene: Scene) -> None:
    """Nothing of the terminal's state is changed between two frames."""
    with scene.watch() as terminal:
        terminal.wait("amber-fox  Running")
        terminal.send(signal.SIGKILL)
        assert terminal.wait_for_end() == -9
        assert terminal.is_as_before


def test_a_closed_terminal_ends_the_command(scene: Scene) -> None:
    """As a window that is closed; the command does not go on without it."""
    with scene.watch() as terminal:
        terminal.wait("amber-fox  Running")
        terminal.child.close(force=False)
        assert not terminal.child.isalive()
        assert terminal.child.signalstatus == signal.SIGHUP


def test_what_is_typed_does_not_stay(scene: Scene) -> None:
    """The terminal shows it at the beginning of the state, which the next frame draws anew."""
    with scene.watch() as terminal:
        terminal.wait("amber-fox  Running")
        terminal.child.send("xyz")
        terminal.wait(lambda lines: any(line.startswith("xyz") for line in lines))
        scene.server.log(scene.run, "next")
        terminal.wait("next")
        scene.end()
        assert terminal.wait_for_end() == 0
        assert [line for line in terminal.all_lines() if "xyz" in line] == []


class CountingDisplay:
    """Counts the frames, and does something with the third."""

    def __init__(self, third: Callable[[], object]) -> None:
        self.frames = 0
        self._third = third

    def refresh(self) -> None:
        """Draw a frame."""
        self.frames += 1
        if self.frames == 3:
            self._third()


def test_frames_are_drawn_while_there_is_no_event() -> None:
    """In the thread of the loop; they end with the events."""
    events: Subject[FlowRunEvent] = Subject()
    display = CountingDisplay(events.on_completed)
    assert list(refreshed(events.pipe(ops.start_with(seen(), line(1))), display)) == [
        seen(),
        line(1),
    ]
    assert display.frames == 3


def test_an_error_ends_the_frames() -> None:
    """It is raised where the events are read."""
    events: Subject[FlowRunEvent] = Subject()
    display = CountingDisplay(lambda: events.on_error(rxflow.Unreachable("no response")))
    with pytest.raises(rxflow.Unreachable, match="no response"):
        list(refreshed(events, display))
    assert display.frames == 3


# -- where there is no live view ----------------------------------------------------------------


@pytest.mark.parametrize(
    "environment", [{"CI": "true"}, {"TERM": "dumb"}], ids=["CI", "dumb terminal"]
)
def test_lines_are_plain(scene: Scene, environment: dict[str, str]) -> None:
    """In CI, and on a terminal that cannot move its cursor."""
    scene.end()
    with scene.watch(environment=environment) as terminal:
        assert terminal.wait_for_end() == 0
        assert any("fetching the orders" in line for line in terminal.lines())
        assert b"\x1b[?" not in terminal.written
        assert b"\x1b[J" not in terminal.written


def test_colours_are_left_out(scene: Scene) -> None:
    """The lines and the state are then without them."""
    with scene.watch("--color", "never") as terminal:
        terminal.wait("amber-fox  Running")
        scene.end("FAILED")
        assert terminal.wait_for_end() == 1
    colours = set(re.findall(rb"\x1b\[[\d;]*m", terminal.written))
    assert colours <= {b"\x1b[0m"}


def test_lines_alone_are_wanted(scene: Scene) -> None:
    """With --quiet, and in formats for programs."""
    scene.end()
    for option in ("--quiet", "--output=raw"):
        with scene.watch(option) as terminal:
            assert terminal.wait_for_end() == 0
            assert any("fetching the orders" in line for line in terminal.lines())
            assert b"\x1b[?" not in terminal.written


# -- text of the server -------------------------------------------------------------------------

OF_THE_VIEW = {
    "modes": "\x1b[?1049h\x1b[?25l\x1b[?7l",
    "carriage": "over\rwritten\x08\x08",
    "frame": "\n──────\n  The run is over",
    "wide": "漢字" * 60,
    "combining": "e\u0301\u0327" * 60,
    "emoji": "👩\u200d👩\u200d👧🦊" * 30,
}
"""Text that imitates or breaks the view, if it acts at all."""

HOSTILE = {**{name: text for name, text in ALL.items() if name not in LONG}, **OF_THE_VIEW}


def test_text_of_the_server_does_nothing(scene: Scene) -> None:
    """Names and messages are data: none of them acts on the terminal or on the view."""
    server, run = scene.server, scene.run
    server.change_run(run, name="\x1b]0;owned\x07[red]fox[/]")
    for name in ("\x1b[2Jtask[/]", "漢字" * 50, "e\u0301" * 90):
        server.add_task_run(run, name=name, state="RUNNING")
    for message in HOSTILE.values():
        server.log(run, message, level=40)
    server.log(run, "the last line")
    with scene.watch(columns=80, lines=30) as terminal:
        terminal.wait("the last line")
        lines = terminal.wait("\\x1b]0;owned\\x07[red]fox[/]  Running")
        assert region(lines)[0].endswith("\\x1b]0;owned\\x07[red]fox[/]  Running  N s")
        assert terminal.screen.title == ""
        # What was read may end within a frame.
        terminal.wait(lambda _: terminal.is_as_before)
        scene.end("FAILED", "\x1b[2J[red]" + "\x1b]0;owned\x07")
        assert terminal.wait_for_end() == 1
        assert terminal.screen.title == ""
        assert terminal.is_as_before
    shown = "\n".join(terminal.all_lines())
    for text in (
        r"\x1b[31mred\x1b[0m",
        "[red]red[/red] [/]",
        "{{ 7 * 7 }} {% for x",
    ):
        assert text in shown


def test_long_lines_are_whole(scene: Scene) -> None:
    """One of a megabyte is wrapped like any other, and what follows is shown."""
    for text in LONG.values():
        scene.server.log(scene.run, text)
    scene.server.log(scene.run, "the last line")
    scene.end()
    with scene.watch(emulated=False) as terminal:
        assert terminal.wait_for_end() == 0
    written = terminal.written.decode()
    assert written.count("xx") * 2 > 999_000
    assert written.count("words ") + written.count("words\r") >= 20_000
    assert written.count("| one of many lines\r") == 5_000
    assert "| the last line\r" in written
