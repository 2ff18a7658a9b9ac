"""The tree of errors: its drawing in the module's docstring matches the classes."""

import inspect
import pickle
import re
from collections.abc import Callable

import msgspec
import pytest
from sample_events import NOON

import rxflow
from rxflow import State, errors

WHO = ("you: ", "your flow: ", "your pipeline: ", "the server: ", "the broker: ", "the network: ")


class Drawn(msgspec.Struct, frozen=True):
    """A line of the drawing.

    Attributes:
        name: The error.
        parent: The error above it; "" for the root.
        text: The description.
    """

    name: str
    parent: str
    text: str

    @property
    def error(self) -> type[Exception]:
        """The class of this name."""
        found: type[Exception] = getattr(errors, self.name)
        return found

    @property
    def also(self) -> list[str]:
        """The builtin errors that the description names."""
        remark = re.search(r"\(also (.+)\)$", self.text)
        return [word.partition(" ")[2] for word in remark[1].split(", ")] if remark else []


def drawing() -> list[Drawn]:
    """The lines of the tree in the module's docstring."""
    lines: list[Drawn] = []
    path: list[str] = []
    drawn = r"(?m)^    (?P<stems>(?:[│ ]   )*)(?P<branch>[├└]── )?(?P<name>\w+) *(?P<text>.*)$"
    for line in re.finditer(drawn, errors.__doc__ or ""):
        depth = len(line["stems"]) // 4 + bool(line["branch"])
        path[depth:] = [line["name"]]
        lines.append(Drawn(line["name"], path[depth - 1] if depth else "", line["text"]))
    return lines


DRAWING = drawing()
ROOT, *BRANCHES = DRAWING

each_line = pytest.mark.parametrize("line", DRAWING, ids=lambda line: line.name)
each_branch = pytest.mark.parametrize("line", BRANCHES, ids=lambda line: line.name)


def test_every_error_is_drawn_once() -> None:
    """The drawing has the names of `__all__`, which are all classes of the module."""
    defined = [
        name
        for name, found in vars(errors).items()
        if inspect.isclass(found) and found.__module__ == errors.__name__
    ]
    assert sorted(line.name for line in DRAWING) == errors.__all__ == sorted(defined)


def test_there_is_one_root() -> None:
    """All errors derive from RxflowError, which derives from Exception alone."""
    assert [line.name for line in DRAWING if not line.parent] == ["RxflowError"]
    assert ROOT.error.__bases__ == (Exception,)


@each_branch
def test_an_error_derives_from_the_one_above_it(line: Drawn) -> None:
    """The first base of an error is the one that it is drawn under."""
    assert line.error.__bases__[0] is getattr(errors, line.parent)


@each_branch
def test_the_other_bases_of_an_error_are_drawn(line: Drawn) -> None:
    """The other bases of an error are those that its line names."""
    assert [base.__name__ for base in line.error.__bases__[1:]] == line.also


@each_branch
def test_a_line_says_who_can_fix_the_error(line: Drawn) -> None:
    """A line below the root names who can fix the error; a deeper one continues its parent's."""
    assert line.text.startswith(WHO if line.parent == ROOT.name else "... ")


ALSO: dict[type[Exception], set[type[Exception]]] = {
    errors.ConfigurationError: {ValueError},
    errors.EventsNotKept: {RuntimeError},
    errors.InvalidEvent: {ValueError},
    errors.InvalidJournal: {ValueError},
    errors.JournalFailed: {OSError},
    errors.InvalidCheckpoint: {ValueError},
    errors.CheckpointFailed: {OSError},
    errors.InvalidRecording: {ValueError},
    errors.RecordingFailed: {OSError},
    errors.InvalidRunId: {ValueError},
    errors.RunNotFound: {ValueError},
    errors.TaskRunNotFound: {ValueError},
    errors.FlowNotFound: {ValueError},
    errors.DeploymentNotFound: {ValueError},
    errors.UnsupportedFilter: {ValueError},
    errors.ResultUnavailable: {ValueError},
    errors.ResultFileNotFound: {ValueError, OSError},
    errors.ResultNotKept: {ValueError, TypeError},
    errors.ResultUnreadable: {TypeError},
    errors.WatchInherited: {RuntimeError},
    errors.WatchTimedOut: {RuntimeError, TimeoutError, OSError},
    errors.SinkFailed: {OSError},
    errors.BrokerFailed: {ConnectionError, OSError},
    errors.RelayLogLost: {LookupError},
    errors.RelayLogTrimmed: {LookupError},
    errors.InvalidRelayLog: {ValueError},
    errors.Unreachable: {ConnectionError, OSError},
}
BUILTIN: set[type[Exception]] = {
    ValueError,
    TypeError,
    RuntimeError,
    TimeoutError,
    ConnectionError,
    OSError,
    LookupError,
}


@each_line
def test_builtin_errors_that_catch_an_error(line: Drawn) -> None:
    """A caller that does not know rxflow catches an error by its builtin bases and no others."""
    caught = {builtin for builtin in BUILTIN if issubclass(line.error, builtin)}
    assert caught == ALSO.get(line.error, set())
    assert issubclass(line.error, errors.RxflowError)


@each_line
def test_an_error_is_its_message(line: Drawn) -> None:
    """An error has the text that it was made with, also after it was pickled."""
    error = line.error("what happened")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(error), error.args) == ("what happened", ("what happened",))
    assert (type(again), again.args) == (line.error, error.args)


@each_line
def test_an_error_shows_no_control_characters(line: Drawn) -> None:
    """What a server wrote into a message cannot control a terminal; newlines and tabs are kept."""
    error = line.error("run '\x1b[2J\u202e\x9b':\n\tr\u00f6ws")
    assert str(error) == "run '\\x1b[2J\\u202e\\x9b':\n\tr\u00f6ws"


@each_line
def test_an_error_can_be_imported_from_rxflow(line: Drawn) -> None:
    """Each error is a public name of the package."""
    assert getattr(rxflow, line.name) is line.error
    assert line.name in rxflow.__all__


ATTRIBUTES: list[tuple[Callable[..., Exception], dict[str, object], dict[str, object]]] = [
    (errors.WatchTimedOut, {"flow_run_ids": ()}, {"flow_run_ids": ("a", "b")}),
    (
        errors.FlowRunFailed,
        {"flow_run_id": None, "state": None, "flow_run_ids": ()},
        {"flow_run_id": "a", "state": State(id="s", type="FAILED", name="Failed", timestamp=NOON)},
    ),
    (errors.FlowRunFailed, {}, {"flow_run_ids": ("a", "b")}),
    (errors.JournalFailed, {"is_full": False}, {"is_full": True}),
    (errors.RecordingFailed, {"is_full": False}, {"is_full": True}),
    (
        errors.BrokerFailed,
        {"is_away": False, "is_auth_refused": False, "is_ended": False},
        {"is_away": True, "is_auth_refused": True, "is_ended": True},
    ),
]


@pytest.mark.parametrize(("error", "without", "given"), ATTRIBUTES)
def test_an_error_has_the_attributes_that_it_is_given(
    error: Callable[..., Exception], without: dict[str, object], given: dict[str, object]
) -> None:
    """Beside its message; each has a value of its type where none is given."""
    plain, full = error("why"), error("why", **given)
    assert (str(plain), str(full)) == ("why", "why")
    assert {name: getattr(plain, name) for name in without} == without
    assert {name: getattr(full, name) for name in given} == given
