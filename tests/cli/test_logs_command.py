"""`rxflow logs`: log lines alone, of runs that are over and of one that goes on."""

import pytest
from command_scenes import CommandScene, StillClock, invoke_on, messages

import rxflow
from rxflow.testing import FakePrefect1

LINES = [
    "120 orders read",
    "sift-0: sifted",
    "publish: 3 pages published",
    "2 have no price",
    r"one is \x1b[31mlost",
    "custom",
]


@pytest.fixture(scope="module")
def scene() -> CommandScene:
    """A server with runs that are over; no test changes it."""
    return CommandScene()


@pytest.mark.parametrize("options", [[], ["-f"]], ids=["stored", "followed"])
def test_only_log_lines_are_written(scene: CommandScene, options: list[str]) -> None:
    """No title, no states, no summary; nothing on standard error."""
    done = scene.invoke("logs", scene.run, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert messages(done.stdout) == LINES
    assert len(done.stdout.splitlines()) == len(LINES)


@pytest.mark.parametrize("options", [[], ["-f"]], ids=["stored", "followed"])
def test_jsonl_has_the_log_lines(scene: CommandScene, options: list[str]) -> None:
    """Each with the run that its own is a subflow of."""
    done = scene.invoke("logs", scene.run, "-o", "jsonl", *options)
    lines = [rxflow.decode_event(line) for line in done.stdout.splitlines()]
    assert {type(line) for line in lines} == {rxflow.FlowRunLog}
    assert {line.root_flow_run_id for line in lines} == {scene.run}
    assert {line.flow_run_id for line in lines} == {scene.run, scene.subflow}


def test_the_lines_of_several_runs_are_in_order(scene: CommandScene) -> None:
    """Each has the name of its run."""
    done = scene.invoke("logs", "--tag", "prod")
    assert done.exit_code == 0, done.output
    assert messages(done.stdout)[2:5] == [
        "publish: 3 pages published",
        "grey-owl: not a mouse",
        "amber-fox: 2 have no price",
    ]


def test_the_last_lines_of_several_runs(scene: CommandScene) -> None:
    """They are counted over all of them."""
    followed = scene.invoke("logs", "--tag", "prod", "--tail", "4", "-f")
    assert messages(followed.stdout) == [
        "grey-owl: not a mouse",
        "amber-fox: 2 have no price",
        r"amber-fox: one is \x1b[31mlost",
        "amber-fox: custom",
    ]
    stored = scene.invoke("logs", "--tag", "prod", "--tail", "4")
    assert stored.stdout == followed.stdout


def test_lines_of_the_future_are_those_of_a_run_that_is_followed(scene: CommandScene) -> None:
    """Of what there is now, none can be shown: a usage error."""
    later = ["--since", "2999-01-01T00:00Z"]
    done = scene.invoke("logs", scene.run, *later)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--since is 2999-01-01" in done.stderr or "--since is 2998-12-31" in done.stderr
    assert "follow the runs with -f" in done.stderr
    followed = scene.invoke("logs", scene.run, *later, "-f")
    assert (followed.exit_code, followed.output) == (0, "")


def test_a_range_that_is_empty_is_a_usage_error(scene: CommandScene) -> None:
    """Before the server is read from, and also for runs that filters find."""
    times = ["--since", "1h", "--until", "2h"]
    for selected in ([scene.run], ["--tag", "prod"]):
        for options in ([], ["-f"]):
            done = scene.invoke("logs", *selected, *times, *options)
            assert (done.exit_code, done.stdout) == (2, "")
            assert "which is after --until" in done.stderr


@pytest.mark.parametrize(
    "option", ["--no-push", "--no-hold", "--cancel-on-interrupt", "--exit-zero"]
)
def test_options_about_following_need_f(scene: CommandScene, option: str) -> None:
    """They would have no effect, and a script would rely on them."""
    result = scene.invoke("logs", scene.run, option)
    assert result.exit_code == 2
    assert "pass -f as well" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--no-push"],
        ["--no-hold"],
        ["--cancel-on-interrupt"],
        ["--exit-zero"],
        ["--journal", "nightly"],
    ],
    ids=" ".join,
)
def test_an_option_about_following_is_refused_without_it(
    options: list[str], scene: CommandScene
) -> None:
    """The sentence names the option that was given, and no other."""
    done = scene.invoke("logs", scene.run, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"Error: {options[0]} is about following; pass -f as well."
    )


def test_a_run_that_goes_on_is_not_waited_for() -> None:
    """Without -f the command ends with the lines that there are."""
    scene = CommandScene()
    run = scene.server.add_run(state="RUNNING")
    scene.server.log(run, "so far")
    done = scene.invoke("logs", run)
    assert (done.exit_code, messages(done.stdout)) == (0, ["so far"])


def test_the_first_lines_of_a_run_that_goes_on_end_the_command() -> None:
    """With --head the runs are followed no longer than there are lines to show."""
    scene = CommandScene()
    run = scene.server.add_run(state="RUNNING")
    for number in range(3):
        scene.server.log(run, f"line {number}")
    done = scene.invoke("logs", run, "-f", "--head", "2")
    assert (done.exit_code, messages(done.stdout)) == (0, ["line 0", "line 1"])


def test_a_tail_reaches_over_pages(scene: CommandScene) -> None:
    """The last lines that match are found, however many others follow them."""
    done = scene.invoke("logs", scene.long, "-f", "--tail", "2", "-i", "even")
    assert (done.exit_code, messages(done.stdout)) == (0, ["even 8", "even 9"])


@pytest.fixture(scope="module")
def ended_on_prefect1() -> tuple[FakePrefect1, str]:
    """A run on Prefect 1 that ended an hour ago."""
    clock = StillClock()
    server = FakePrefect1(clock=clock)
    run = server.add_run(name="amber-fox", state="Running")
    server.log(run, "120 orders read")
    server.set_state(run, "Success")
    clock.move(3600)
    return server, run


@pytest.mark.parametrize("options", [[], ["-f"], ["--tail", "1"], ["--tail", "1", "-f"]], ids=str)
def test_prefect_1_has_log_lines_too(
    ended_on_prefect1: tuple[FakePrefect1, str], options: list[str]
) -> None:
    """It knows no subflows, which is no news."""
    server, run = ended_on_prefect1
    done = invoke_on(server, "logs", run, "--backend", "prefect1", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert messages(done.stdout) == ["120 orders read"]
