"""`rxflow watch` with each of its options, in this process; signals are in `test_signals`."""

import re
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner
from command_scenes import CommandScene, messages

import rxflow
from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect3

UNKNOWN = "00000000-0000-4000-8000-000000000004"


@pytest.fixture(scope="module")
def scene() -> CommandScene:
    """A server with runs that are over; no test changes it."""
    return CommandScene()


def test_a_run_is_shown_with_its_subflow_in_order(scene: CommandScene) -> None:
    """The lines of the subflow lie between those of the run, and have its name."""
    done = scene.invoke("watch", scene.run)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Flow run 'amber-fox' ({scene.run}), created 2026-11-2")
    assert messages(done.stdout) == [
        "Entered state Running",
        "120 orders read",
        "sift-0: sifted",
        "publish: Entered state Running",
        "publish: 3 pages published",
        "publish: Entered state Completed",
        "2 have no price",
        r"one is \x1b[31mlost",
        "custom",
        "Entered state Completed",
    ]


def test_a_run_may_be_shown_without_its_subflows(scene: CommandScene) -> None:
    """With --no-children."""
    done = scene.invoke("watch", scene.run, "--no-children")
    assert done.exit_code == 0, done.output
    assert "publish" not in done.output


def test_the_states_of_task_runs_are_shown_if_wanted(scene: CommandScene) -> None:
    """With --tasks; their summary is there without it."""
    shown = messages(scene.invoke("watch", scene.run, "--tasks").stdout)
    assert "Task run 'sift-0' entered state Completed" in shown


def test_several_runs_are_shown_in_order(scene: CommandScene) -> None:
    """Each line has the name of its run; the status is that of the worst."""
    done = scene.invoke("watch", scene.run, scene.failed)
    assert done.exit_code == 1, done.output
    shown = messages(done.stdout)
    lines = [line for line in shown if "Entered" not in line]
    assert lines == [
        "amber-fox: 120 orders read",
        "amber-fox/sift-0: sifted",
        "publish: 3 pages published",
        "grey-owl: not a mouse",
        "amber-fox: 2 have no price",
        r"amber-fox: one is \x1b[31mlost",
        "amber-fox: custom",
    ]
    title, *rows = done.stderr.splitlines()
    assert title.startswith("rxflow: 2 flow runs: 1 ")
    assert {row.split()[1] for row in rows} == {"Failed", "Completed"}
    assert "Flow run 'amber-fox'" in done.stdout


def test_runs_are_found_by_filters(scene: CommandScene) -> None:
    """All that have the tag, each with its subflows."""
    done = scene.invoke("watch", "--tag", "prod")
    assert done.exit_code == 1, done.output
    assert {"amber-fox: custom", "grey-owl: not a mouse"} <= set(messages(done.stdout))


def test_filters_that_no_run_matches_find_nothing(scene: CommandScene) -> None:
    """Which is status 7."""
    done = scene.invoke("watch", "--tag", "prod", "--tag", "none")
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr == "rxflow: no flow run matches the filters\n"


# -- which lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--level", "warning"], ["2 have no price", r"one is \x1b[31mlost"]),
        (["--level", "25"], ["2 have no price", r"one is \x1b[31mlost", "custom"]),
        (["-i", "orders", "-i", "^custom$"], ["120 orders read", "custom"]),
        (["--include", "o", "--exclude", "orders|pages"], None),
        (["--since", "2026-11-22T12:00:04Z"], [r"one is \x1b[31mlost", "custom"]),
        (["--until", "2026-11-22T12:00:01.5Z"], ["120 orders read", "sift-0: sifted"]),
        (["--head", "2"], ["120 orders read", "sift-0: sifted"]),
        (["--head", "0"], []),
        (["--tail", "2"], [r"one is \x1b[31mlost", "custom"]),
        (["--tail", "0"], []),
        (["--tail", "5", "-i", "e"], None),
        (["--tail", "1", "--level", "warning"], [r"one is \x1b[31mlost"]),
        (["--tail", "2", "--head", "1"], [r"one is \x1b[31mlost"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_log_lines_are_selected(
    scene: CommandScene, options: list[str], lines: list[str] | None
) -> None:
    """States are shown whatever the options are; `logs` selects the same lines."""
    followed = scene.invoke("watch", scene.run, *options)
    stored = scene.invoke("logs", scene.run, *options)
    assert (followed.exit_code, stored.exit_code) == (0, 0), followed.output + stored.output
    shown = messages(followed.stdout)
    assert "Entered state Completed" in shown
    assert [line for line in shown if "Entered" not in line] == messages(stored.stdout)
    if lines is not None:
        assert messages(stored.stdout) == lines


def test_the_end_says_which_lines_were_counted(scene: CommandScene) -> None:
    """A count of lines of a level names the level."""
    done = scene.invoke("watch", scene.run, "--level", "warning", "--no-children")
    assert "2 of level WARNING and above, as many as the server counts" in done.stdout


@pytest.mark.parametrize(
    "options",
    [["--head", "1"], ["-i", "orders"], ["-e", "orders"], ["--until", "2026-11-22T12:00:03.5Z"]],
    ids=" ".join,
)
def test_the_end_says_that_lines_were_selected(scene: CommandScene, options: list[str]) -> None:
    """The count is that of the lines which were read, and not of those that are shown."""
    done = scene.invoke("watch", scene.run, *options)
    counted = "6 were read, as many as the server counts; those selected are shown"
    assert f"  log lines  {counted}\n" in done.stdout


def test_the_end_of_raw_lines_counts_those_of_subflows(scene: CommandScene) -> None:
    """As the summary does."""
    done = scene.invoke("watch", scene.run, "-o", "raw")
    ended = f"rxflow: Flow run ended in state Completed; 6 log lines, verified ({scene.run})\n"
    assert done.stderr == ended


def test_quiet_leaves_the_lines(scene: CommandScene) -> None:
    """No title, no summary."""
    done = scene.invoke("watch", scene.run, "--quiet")
    assert done.stderr == ""
    assert len(messages(done.stdout)) == len(done.stdout.splitlines()) == 10


# -- how lines are written ------------------------------------------------------------------------


def test_jsonl_reads_back_to_the_events(scene: CommandScene) -> None:
    """Of every kind, and equal to those that the library emits."""
    done = scene.invoke("watch", scene.run, "-o", "jsonl")
    events = [rxflow.decode_event(line) for line in done.stdout.splitlines()]
    watched = list(
        rxflow.watch_flow_run(
            scene.run, stream_tasks=True, subflows=True, client=scene.server.client()
        )
    )

    def of_kind(kind: str, among: list[rxflow.FlowRunEvent]) -> set[rxflow.FlowRunEvent]:
        return {event for event in among if event.kind == kind}

    for kind in ("run-seen", "state", "log", "task-state"):
        assert of_kind(kind, events) == of_kind(kind, watched), kind
    assert isinstance(events[-1], rxflow.Closed)
    assert done.stderr == ""


def test_raw_is_the_messages(scene: CommandScene) -> None:
    """Unchanged, since the output is no terminal; how the run ended is on standard error."""
    done = scene.invoke("watch", scene.run, "-o", "raw", "--no-children")
    assert done.stdout.splitlines() == [
        "Entered state Running",
        "120 orders read",
        "sifted",
        "2 have no price",
        "one is \x1b[31mlost",
        "custom",
        "Entered state Completed",
    ]
    assert re.fullmatch(r"rxflow: Flow run ended in state Completed; .*verified.*\n", done.stderr)


def test_a_template_writes_the_lines(scene: CommandScene) -> None:
    """With --template no -o is needed."""
    template = "{{ level_name }}:{{ run_name }}:{{ task_name }}:{{ message | upper }}"
    done = scene.invoke("watch", scene.run, "--template", template, "--head", "2", "-q")
    assert done.stderr == ""
    assert "INFO:amber-fox:sift-0:SIFTED" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("options", "time"),
    [
        (["--utc"], "12:00:00.000"),
        (["--timezone", "Asia/Tokyo"], "21:00:00.000"),
        (["--utc", "--timestamps"], "2026-11-22T12:00:00.000+00:00"),
        (["--timezone", "Asia/Tokyo", "--timestamps"], "2026-11-22T21:00:00.000+09:00"),
    ],
    ids=" ".join,
)
def test_times_are_in_the_zone_that_is_wanted(
    scene: CommandScene, options: list[str], time: str
) -> None:
    """And have their date and offset with --timestamps."""
    lines = scene.invoke("watch", scene.run, *options).stdout.splitlines()
    assert [line.split(" ")[0] for line in lines if "orders read" in line] == [time]


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [
        ([], {}, False),
        (["--color", "always"], {}, True),
        ([], {"FORCE_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
    ids=str,
)
def test_colours_are_written_if_wanted(
    scene: CommandScene, options: list[str], environment: dict[str, str], coloured: bool
) -> None:
    """The option comes before the environment; the text is the same either way."""
    shown = scene.invoke("watch", scene.run, "--head", "1", "-H", "orders", *options, **environment)
    assert ("\x1b[" in shown.stdout) is coloured
    assert (click.style("orders", reverse=True) in shown.stdout) is coloured
    assert "120 orders read" in click.unstyle(shown.stdout)


# -- exit statuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 3), ("CANCELLED", 5)]
)
def test_the_status_says_how_the_run_ended(scene: CommandScene, kind: str, status: int) -> None:
    """Unless --exit-zero is given."""
    assert scene.invoke("watch", scene.ended[kind]).exit_code == status
    assert scene.invoke("logs", scene.ended[kind], "-f").exit_code == status
    assert scene.invoke("watch", scene.ended[kind], "--exit-zero").exit_code == 0


def test_an_unknown_run_is_not_found(scene: CommandScene) -> None:
    """A sentence and status 7, also with --exit-zero; nothing is written as data."""
    for command in (["watch"], ["logs", "-f"]):
        done = scene.invoke(*command, UNKNOWN, "--exit-zero")
        assert (done.exit_code, done.stdout) == (7, ""), done.output
        assert UNKNOWN in done.stderr


def written(hour: int) -> str:
    """An hour of the day of the scene, as it is written in an error."""
    return f"{datetime(2026, 11, 22, hour, tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S %z}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--level", "loud"], "'loud' is neither a whole number from 0 to 999999 nor one of DEBUG"),
        (["--level", "-5"], "'-5' is neither a whole number from 0 to 999999 nor one of DEBUG"),
        (["--level", "1000000"], "'1000000' is neither a whole number from 0 to 999999 nor"),
        (["--level", "wran"], "WARNING, ERROR, CRITICAL; did you mean 'WARN'?"),
        (
            ["--since", "2026-11-22T13:00Z", "--until", "2026-11-22T12:00Z"],
            f"--since is {written(13)}, which is after --until, {written(12)};",
        ),
        (["--until", "soon"], "'soon' is neither a duration before now"),
        (["-i", "("], "'(' is not a regular expression"),
        (["-e", "*"], "'*' is not a regular expression"),
        (["--tail", "-1"], "'--tail': '-1' is not a whole number from 0 on, such as 20."),
        (["--head", "x"], "'--head': 'x' is not a whole number from 0 on, such as 20."),
        (["--timezone", "Mars/Base"], "'Mars/Base' is not a time zone"),
        (["--timezone", "Europe/Berln"], "such as Europe/Berlin; did you mean 'Europe/Berlin'?"),
        (["--timezone", "../etc"], "'../etc' is not a time zone"),
        (["--utc", "--timezone", "UTC"], "pass one of them"),
        (["-o", "xml"], "'xml' is not one of"),
        (["-o", "template"], "belong together"),
        (["-o", "raw", "--template", "x"], "belong together"),
        (["--template", "{message}"], "pass '{{ message }}' for the value"),
        (["--template", "{{"], "The template cannot be used"),
        (["--timeout", "soon"], "'soon' is not a duration"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_a_usage_error(
    scene: CommandScene, options: list[str], text: str
) -> None:
    """Status 2, and a sentence that shows what was passed and what to pass."""
    done = scene.invoke("watch", scene.run, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in done.stderr


def test_an_api_that_is_none_of_prefect_is_unreachable() -> None:
    """A sentence says what is wrong with the URL, and the status is 6."""
    with FakePrefect3().serve() as url:
        elsewhere = url.removesuffix("/api") + "/elsewhere"
        done = CliRunner().invoke(commands, ["watch", UNKNOWN, "--api-url", elsewhere])
    assert (done.exit_code, done.stdout) == (6, ""), done.output
    assert done.stderr.startswith("rxflow: ")
