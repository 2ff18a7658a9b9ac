"""`--timeout` where the server accepts connections and does not reply."""

import re
from datetime import timedelta

import pytest
from click.testing import Result
from command_scenes import CommandScene, invoke_on

from rxflow.cli._time_limit import TimeLimit
from rxflow.testing import FakePrefect3


def invoke_silent(*arguments: str) -> tuple[str, Result]:
    """Run a command on a server that never replies; return the id of a run, and the result."""
    server = FakePrefect3()
    run = server.add_run(name="amber-fox", state="RUNNING")
    words = [run if word == "ID" else word for word in arguments]
    with server.hold():
        return run, invoke_on(server, words[0], *words[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "amber-fox"),
        ("watch", "@latest", "-q"),
        ("logs", "amber-fox"),
        ("logs", "ID"),
        ("wait", "67336e31"),
    ],
    ids=" ".join,
)
def test_reads_end_at_the_limit(arguments: tuple[str, ...]) -> None:
    """Those that find the runs, and those of stored lines."""
    _, done = invoke_silent(*arguments, "--timeout", "1")
    assert (done.exit_code, done.stdout) == (124, "")
    assert re.fullmatch(
        r"rxflow: the time limit of 1.0 s is over, and not all was read"
        # On a busy machine it may be over before anything was sent.
        r"( \(http\S+ does not reply\))?"
        r"(; flow run \S+ may go on; to come back: rxflow watch \S+( --\S+ \S+)*)?",
        done.stderr.splitlines()[-1],
    )


@pytest.mark.parametrize(
    ("arguments", "back"),
    [
        (("watch", "ID"), "watch ID --api-url http"),
        (("logs", "ID", "-f"), "logs -f ID --api-url http"),
        (("watch", "ID", "--tail", "1"), "watch ID --tail 1 --api-url http"),
    ],
    ids=str,
)
def test_the_run_that_was_never_read_may_go_on(arguments: tuple[str, ...], back: str) -> None:
    """A watch ends at the limit, too, however its reads beside it wait."""
    run, done = invoke_silent(*arguments, "--timeout", "2")
    assert (done.exit_code, done.stdout) == (124, "")
    assert f" may go on; to come back: rxflow {back.replace('ID', run)}" in done.stderr
    # The limit is that of the command, whatever the reads before the watch took of it.
    assert re.search(r"(was watched for|time limit of) 2\.0 s ", done.stderr)
    assert done.stderr.count(run) == 2


@pytest.mark.parametrize(("options", "number"), [([], 2), (["-q"], 1)], ids=["", "quiet"])
def test_a_sentence_says_that_the_server_is_silent(
    options: list[str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless they want nothing but the end."""
    # Of three seconds a busy machine may have used one and more before it sends something.
    monkeypatch.setattr("rxflow.cli._command_client.NOTABLE_WAIT", 0.1)
    _, done = invoke_silent("wait", "amber-fox", "--timeout", "3", *options)
    assert done.exit_code == 124
    *notices, ended = done.stderr.splitlines()
    assert len(notices) == number - 1
    assert all("does not reply yet; trying for up to 3 s ..." in line for line in notices)
    assert "is over" in ended


def test_stored_lines_are_shown_within_the_limit() -> None:
    """A limit that is not reached changes nothing."""
    scene = CommandScene()
    limited = scene.invoke("logs", scene.run, "--timeout", "1h")
    assert (limited.exit_code, limited.stderr) == (0, "")
    assert limited.stdout == scene.invoke("logs", scene.run).stdout


def test_a_limit_below_a_second_leaves_a_second_for_reads() -> None:
    """As it does for the first look of a watch, to which it is handed on whole."""
    limit = TimeLimit(timedelta(milliseconds=500))
    assert limit.seconds_left > 0.5
    assert limit.rest == limit.duration


def test_a_longer_limit_loses_whole_seconds_to_reads() -> None:
    """The watch has what is left, in the seconds that people gave."""
    assert TimeLimit(timedelta(minutes=30)).rest == timedelta(minutes=30)
