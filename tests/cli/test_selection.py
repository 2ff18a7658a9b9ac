"""What the words and filters of a command line find on a server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

import rxflow
from rxflow.cli._output import exit_on_error
from rxflow.cli._selection import SelectedRuns, Selection, select_runs, selection_options
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

HOUR = timedelta(hours=1)
UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


class Scene:
    """A server with a few runs, and a command that selects among them."""

    def __init__(self) -> None:
        self.server = FakePrefect3(clock=VirtualTime())
        now = self.server.clock()
        deployment = self.server.add_deployment(name="nightly", flow="etl")
        self.server.add_deployment(name="idle", flow="etl")

        def add(name: str, due: timedelta, **row: Any) -> str:
            return self.server.add_run(name=name, expected_start_time=now + due, **row)

        self.nightly = add(
            "amber-fox", -3 * HOUR, flow="etl", deployment_id=deployment, state="COMPLETED"
        )
        self.twins = [add("grey-owl", -2 * HOUR, flow="report", state="FAILED") for _ in range(2)]
        self.latest = add("blue-jay", -HOUR, flow="report", tags=["prod"], state="RUNNING")
        self.child = add("subflow", timedelta(), flow="load", parent=self.latest)
        self.later = add("later", HOUR, flow="etl", deployment_id=deployment)

    def select(self, *words: str, given: str | bytes | None = None) -> tuple[Any, str]:
        """Select runs by a command line; return what was found, or its status, and its errors."""
        found: list[SelectedRuns] = []

        @click.command()
        @selection_options
        @exit_on_error()
        def command(selection: Selection) -> None:
            found.append(select_runs(selection, self.server.client()))

        done = CliRunner().invoke(command, words, input=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return (found[0] if found else done.exit_code), done.stderr

    def ids(self, *words: str, given: str | None = None) -> tuple[str, ...] | None:
        """Select runs that are named, and return their ids."""
        found, errors = self.select(*words, given=given)
        assert isinstance(found, SelectedRuns), errors
        assert found.filters == {}
        return found.ids


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The scene, which no test changes."""
    return Scene()


def test_an_id_is_not_looked_up(scene: Scene) -> None:
    """Whether the server has the run is found when it is watched."""
    scene.server.requests.clear()
    assert scene.ids(UNKNOWN.upper()) == (UNKNOWN,)
    assert scene.server.requests == []


def test_a_run_is_found_by_its_name_and_by_the_beginning_of_its_id(scene: Scene) -> None:
    """In the order of the words, each run once."""
    prefix = scene.nightly[:13].upper()
    assert scene.ids("blue-jay", "amber-fox") == (scene.latest, scene.nightly)
    assert scene.ids(prefix, "amber-fox") == (scene.nightly,)
    assert scene.ids(f"{scene.nightly[:30]}…", f"{scene.latest[:8]}...") == (
        scene.nightly,
        scene.latest,
    )


def test_the_latest_run_is_neither_a_subflow_nor_scheduled_for_later(scene: Scene) -> None:
    """Of all runs, of a deployment, of a flow, and of those that match filters."""
    assert scene.ids("@latest") == (scene.latest,)
    assert scene.ids("@latest:etl/nightly") == (scene.nightly,)
    assert scene.ids("@latest:etl") == (scene.nightly,)
    assert scene.ids("@latest", "--state", "completed") == (scene.nightly,)
    assert scene.ids("@latest", "--parent", "blue-jay") == (scene.child,)


def test_standard_input_has_a_run_in_each_line(scene: Scene) -> None:
    """Only the first word of a line counts, so that a list of runs can be piped in."""
    lines = f"{scene.latest}  Running  blue-jay\n\namber-fox\n"
    assert scene.ids("-", given=lines) == (scene.latest, scene.nightly)
    assert scene.ids(UNKNOWN, "-", given=lines) == (UNKNOWN, scene.latest, scene.nightly)


def test_bytes_on_standard_input_are_words_of_no_run(scene: Scene) -> None:
    """What is no text leads to a sentence, too."""
    status, errors = scene.select("-", given=b"\xff\xfe \x00\n")
    assert (status, errors) == (7, "rxflow: The server has no flow run named '\ufffd\ufffd'\n")


def test_filters_are_the_arguments_of_the_library(scene: Scene) -> None:
    """They find the runs that they find in Python."""
    found, _ = scene.select(
        "--tag", "prod", "--flow", "report", "--flow", "etl", "--since", "2000-01-01"
    )
    assert found.ids is None
    since = found.filters["started_after"]
    assert found.filters == {
        "tags": ("prod",),
        "flow": ("report", "etl"),
        "started_after": since,
    }
    assert isinstance(since, datetime)
    assert found.since is None
    views = rxflow.list_flow_runs(**found.arguments, client=scene.server.client())
    assert [view.flow_run_id for view in views] == [scene.latest]


def test_a_time_is_of_log_lines_where_runs_are_named(scene: Scene) -> None:
    """And of the runs' starts where it is the only filter."""
    named, _ = scene.select("amber-fox", "--since", "2026-11-22T12:00Z")
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert (named.since, named.arguments) == (noon, {"flow_run_ids": (scene.nightly,)})
    filtered, _ = scene.select("--since", "2026-11-22T12:00Z")
    assert (filtered.since, filtered.arguments) == (None, {"started_after": noon})


def test_the_parent_may_be_any_word(scene: Scene) -> None:
    """It is the run's id that the server is sent."""
    found, _ = scene.select("--parent", "blue-jay")
    assert found.filters == {"parent": (scene.latest,)}


NOT_FOUND = {
    "name": (["gold-bee"], "no flow run named 'gold-bee'\n"),
    "name or prefix": (["0000"], "named '0000', and none whose id begins with it"),
    "deployment": (["@latest:etl/idle"], "no run of deployment 'etl/idle' that has started"),
    "filters": (["@latest", "--tag", "a", "--tag", "b"], "no run of tags 'a', 'b' that has"),
}


@pytest.mark.parametrize(("words", "sentence"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_a_word_that_means_no_run_is_status_7(
    scene: Scene, words: list[str], sentence: str
) -> None:
    """The sentence says what was looked for."""
    status, errors = scene.select(*words)
    assert status == 7
    assert sentence in errors


@pytest.mark.parametrize("given", ["", "\n \n"], ids=["empty", "blank"])
def test_an_empty_list_of_runs_is_no_error(scene: Scene, given: str) -> None:
    """There is nothing to do, as a sentence says."""
    status, errors = scene.select("-", given=given)
    assert (status, errors) == (0, "rxflow: no run was named on standard input\n")


CLOSE = {
    "misspelt": ("ambr-fox", "; did you mean 'amber-fox'?"),
    "a part": ("BLUE", "; did you mean 'blue-jay'?"),
    "several": ("flow", "; did you mean 'subflow'?"),
    "twins": ("grey-owls", "; did you mean 'grey-owl'?"),
    "an id": ("abcd", ", and none whose id begins with it"),
    "too short for an id": ("abc", "; of an id at least the first four digits are needed"),
    "cut off too soon": ("abc…", "; of an id at least the first four digits are needed"),
    "nothing close": ("zz", ""),
    "a flow": ("etl", ", but a flow; did you mean '@latest:etl'?"),
}


@pytest.mark.parametrize(("word", "end"), CLOSE.values(), ids=CLOSE)
def test_close_names_are_named(scene: Scene, word: str, end: str) -> None:
    """Each once; what is in a name comes before what is like it."""
    status, errors = scene.select(word)
    assert (status, errors) == (7, f"rxflow: The server has no flow run named '{word}'{end}\n")


def test_up_to_three_close_names_are_named() -> None:
    """The latest runs' come first, with control characters written out."""
    server = FakePrefect3(clock=VirtualTime())
    for number in range(5):
        due = server.clock() - timedelta(minutes=number)
        server.add_run(name=f"\x1bnightly-{number}", expected_start_time=due)
    with pytest.raises(rxflow.RunNotFound) as caught:
        select_runs(Selection(("nightly",), {}, None, True), server.client())
    names = [rf"'\x1bnightly-{number}'" for number in range(3)]
    assert str(caught.value).endswith(f"; did you mean {names[0]}, {names[1]} or {names[2]}?")


def test_names_that_cannot_be_read_are_left_out() -> None:
    """The error is that there is no such run, whatever becomes of the question."""
    server = FakePrefect3(clock=VirtualTime())
    server.add_run(name="amber-fox")

    def refuse_others(request: httpx.Request) -> httpx.Response | None:
        is_by_name = b'"name"' in request.content
        is_list = request.url.path.endswith("/flow_runs/filter")
        return httpx.Response(401, json={}) if is_list and not is_by_name else None

    server.intercept = refuse_others
    with pytest.raises(rxflow.RunNotFound) as caught:
        select_runs(Selection(("amber",), {}, None, True), server.client())
    assert str(caught.value) == "The server has no flow run named 'amber'"


def test_a_flow_of_the_name_is_found_by_one_request() -> None:
    """In place of those for runs that are close; the hint can be passed as it is."""
    server = FakePrefect3(clock=VirtualTime())
    run = server.add_run(name="amber-fox", flow="amber")
    with pytest.raises(rxflow.RunNotFound, match="'@latest:amber'"):
        select_runs(Selection(("amber",), {}, None, True), server.client())
    paths = [path.removeprefix("/api") for _, path in server.requests]
    assert paths[-2:] == ["/flow_runs/filter", "/flows/filter"]
    found = select_runs(Selection(("@latest:amber",), {}, None, True), server.client())
    assert found.ids == (run,)


USAGE = {
    "nothing": ([], "No run is given"),
    "runs and filters": (["amber-fox", "--tag", "prod"], "Runs and filters are both given"),
    "deployment": (["--deployment", "nightly"], "neither an id nor the name of a deployment"),
    "state": (["--state", "runing"], "pass a type such as 'RUNNING'"),
    "states": (["--state", "failed, late"], "repeat it for several: --state failed --state late"),
    "empty": (["--flow", ""], "--flow '' is empty"),
    "time": (["--since", "noon"], "'noon' is neither a duration before now"),
}


@pytest.mark.parametrize(("words", "sentence"), USAGE.values(), ids=USAGE)
def test_what_cannot_be_selected_by_is_status_2(
    scene: Scene, words: list[str], sentence: str
) -> None:
    """The sentence says what to pass."""
    status, errors = scene.select(*words)
    assert status == 2
    assert sentence in errors


def test_the_runs_that_a_name_means_are_listed(scene: Scene) -> None:
    """With the ids to pass."""
    status, errors = scene.select("grey-owl")
    assert status == 2
    assert "'grey-owl' is the name of 2 runs; pass the id of one:" in errors
    assert all(f"{run}  Failed  " in errors for run in scene.twins)


def test_the_runs_that_a_prefix_means_are_listed() -> None:
    """Of many, those of the highest ids."""
    server = FakePrefect3(clock=VirtualTime())
    for number in range(10):
        server.add_run(id=f"abcd{number}{UNKNOWN[5:]}", name=f"\x1b[2J{number}")
    with pytest.raises(click.UsageError) as caught:
        select_runs(Selection(("abcd",), {}, None, True), server.client())
    assert "'abcd' begins the id of 8 runs or more" in caught.value.message
    message = click.unstyle(caught.value.message)
    assert f"abcd9{UNKNOWN[5:]}  Scheduled" in message
    assert "\x1b" not in message


def test_runs_of_prefect_1_are_found() -> None:
    """By name, prefix, latest of a flow, and filters; it has no deployments."""
    server = FakePrefect1(clock=VirtualTime())
    run_id = server.add_run(name="amber-fox", state="Running")
    client = server.client()
    flow = rxflow.FlowRunView.from_flow_run_id(run_id, client=client).get_flow_metadata().name
    for word in ("amber-fox", run_id[:8], "@latest", f"@latest:{flow}"):
        found = select_runs(Selection((word,), {}, None, True), client)
        assert found.ids == (run_id,)
    with pytest.raises(rxflow.RunNotFound, match=f"'@latest:{flow}'"):
        select_runs(Selection((flow,), {}, None, True), client)
    with pytest.raises(rxflow.UnsupportedFilter, match="Prefect 1 has no deployments"):
        select_runs(Selection(("@latest:a/b",), {}, None, True), client)
