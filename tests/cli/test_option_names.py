"""Errors of the library on a command line: they name options, and leave values as they are."""

import pytest
from command_line import run_program

from rxflow.cli._option_names import as_options
from rxflow.testing import FakePrefect1, FakePrefect3

TEXTS = {
    "an argument": (
        "flow='' is empty; pass text such as 'report'",
        "--flow '' is empty; pass text such as 'report'",
    ),
    "another name": ("states='RUNING' is neither", "--state 'RUNING' is neither"),
    "other quotes": ('tags="it\'s" is empty', '--tag "it\'s" is empty'),
    "without a value": ("so work_pool= cannot be used", "so --work-pool cannot be used"),
    "a setting": ("No URL (from the argument api_url).", "No URL (from --api-url)."),
    "no setting": ("give no argument profile.", "give no --profile."),
    "a name in a sentence": ("by flow, name and started_after", "by flow, name and --since"),
    "a limit": ("pass a longer max_duration, or", "pass a longer --timeout, or"),
    "without an option": ("pass api_key=..., or set RXFLOW_API_KEY", "set RXFLOW_API_KEY"),
    "in a value": ("name=\"flow='x'\" is not a name", "--name \"flow='x'\" is not a name"),
    "an escaped quote": (r"name='\'flow=\'x' is", r"--name '\'flow=\'x' is"),
    "a word of a value": ("'the argument flow' and 'work_pool'", None),
    "an apostrophe": ("the server's flow= and Prefect's", "the server's --flow and Prefect's"),
    "in a URL": ("http://x/?name='a'&work_pool=b", None),
    "in another word": ("my_name='a' and renamed='b', workflow= x", None),
    "English": ("the flow has a name, a level and a deployment", None),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_arguments_are_named_as_options(text: str, expected: str | None) -> None:
    """As whole words, in the ways in which the library names them; None is the text unchanged."""
    assert as_options(text) == (expected or text)


FILTERS = {
    "--flow": ["", "--flow '' is empty"],
    "--tag": ["", "--tag '' is empty"],
    "--name": [" ", "--name ' ' is empty"],
    "--work-pool": ["", "--work-pool '' is empty"],
    "--state": ["runing", "--state 'runing' is neither a type of states"],
    "--deployment": ["flow='x'", "--deployment \"flow='x'\" is neither an id nor"],
}


@pytest.mark.parametrize("command", ["runs", "wait", "watch", "logs"])
@pytest.mark.parametrize("option", FILTERS)
def test_a_bad_filter_is_named_as_it_was_written(command: str, option: str) -> None:
    """In a usage error, and no argument of Python is named."""
    value, sentence = FILTERS[option]
    with FakePrefect3().serve() as url:
        done = run_program(command, option, value, "--api-url", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: {sentence}" in done.stderr


def test_a_misspelt_state_has_the_list_of_states() -> None:
    """And the one that is meant."""
    with FakePrefect3().serve() as url:
        done = run_program("runs", "--state", "runing", "--api-url", url)
    assert "such as 'RUNNING', of SCHEDULED, PENDING, RUNNING, PAUSED," in done.stderr


def test_a_filter_that_prefect_1_lacks_is_named_as_an_option() -> None:
    """With the options that there are in its place."""
    with FakePrefect1().serve() as url:
        done = run_program("runs", "--work-pool", "k8s", "--api-url", url)
    assert done.returncode == 2
    assert "so --work-pool cannot be used with this server" in done.stderr
    assert "states and --since" in done.stderr


def test_the_deployment_of_a_new_run_is_named_as_an_argument() -> None:
    """`rxflow run` has no option for it."""
    with FakePrefect3().serve() as url:
        done = run_program("run", "nightly", "--api-url", url)
    assert done.returncode == 2
    assert "Error: DEPLOYMENT 'nightly' is neither an id nor" in done.stderr


@pytest.mark.parametrize("command", ["watch", "logs", "wait", "runs"])
def test_a_bad_setting_is_named_as_an_option(command: str) -> None:
    """Where it is malformed, where two exclude each other, and where no server replies."""
    malformed = run_program(command, "--tag", "a", "--api-url", "nonsense")
    both = run_program(command, "--api-url", "http://127.0.0.1:9/api", "--profile", "prod")
    for done in (malformed, both):
        assert (done.returncode, done.stdout) == (2, "")
        assert "--api-url" in done.stderr
        assert "argument" not in done.stderr
    assert "--profile" in both.stderr
