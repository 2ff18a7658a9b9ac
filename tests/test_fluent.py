"""Fluent methods: of reactivex, whose declared types agree with what runs, and of rxflow."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.scheduler import CurrentThreadScheduler
from sample_events import RUN, TASK, entered, line, seen

import rxflow
from rxflow import FlowRunEvent, FlowRunLog, Stream, operators

SOURCE = (Path(rxflow.__file__).parent / "_fluent.py").read_text("utf-8")
METHODS = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]
IMPLEMENTED = {method.name: method for method in METHODS}  # the last one of overloads

# The argument for each parameter name; parameters not listed are left out.
ARGUMENTS: dict[str, Any] = {
    "accumulator": max,
    "action": lambda: None,
    "boundaries": rx.never(),
    "count": 1,
    "duetime": 0.1,
    "duration": 0.1,
    "handler": rx.empty(),
    "index": 0,
    "mapper": lambda _: rx.of(1),
    "mapper_indexed": lambda _, __: rx.of(1),
    "other": rx.empty(),
    "predicate": lambda _: True,
    "predicate_indexed": lambda _, __: True,
    "project": lambda _: rx.of(1),
    "sampler": 0.1,
    "scheduler": CurrentThreadScheduler.singleton(),
    "second": [1],
    "sources": rx.of(1),
    "timespan": 0.1,
    "window_duration": 0.1,
}

each_method = pytest.mark.parametrize("name", IMPLEMENTED)


def declared_parameters(method: ast.FunctionDef) -> list[tuple[str, inspect._ParameterKind, bool]]:
    """Return each declared parameter's name, kind, and whether it is optional."""
    arguments, kinds = method.args, inspect.Parameter
    required = len(arguments.args) - len(arguments.defaults)
    found: list[tuple[str, inspect._ParameterKind, bool]] = [
        (one.arg, kinds.POSITIONAL_OR_KEYWORD, number >= required)
        for number, one in enumerate(arguments.args)
    ]
    if arguments.vararg is not None:
        found.append((arguments.vararg.arg, kinds.VAR_POSITIONAL, False))
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [*found, *((one.arg, kinds.KEYWORD_ONLY, value is not None) for one, value in named)]


def parameters(function: Any) -> list[tuple[str, inspect._ParameterKind, bool]]:
    """Return each parameter's name, kind, and whether it is optional."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default is not one.empty) for one in found]


@each_method
def test_a_declared_method_is_reactivexs_own(name: str) -> None:
    """Each declared method is reactivex's own, with the same parameters."""
    assert declared_parameters(IMPLEMENTED[name]) == parameters(getattr(Observable, name))
    assert getattr(Stream, name) is getattr(Observable, name)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}:{method.lineno}")
def test_an_overload_adds_no_parameter(method: ast.FunctionDef) -> None:
    """Each overload has the method's leading parameters, in order, and returns a stream."""
    names = [name for name, _, _ in declared_parameters(method)]
    assert (
        names
        == [name for name, _, _ in declared_parameters(IMPLEMENTED[method.name])][: len(names)]
    )
    assert method.returns is not None
    assert ast.unparse(method.returns).startswith("Stream[")


@each_method
def test_a_method_returns_a_stream(name: str) -> None:
    """At run time each method returns a stream."""
    arguments = [
        ARGUMENTS[parameter]
        for parameter, kind, optional in parameters(getattr(Observable, name))
        if parameter in ARGUMENTS and kind != inspect.Parameter.KEYWORD_ONLY and not optional
    ]
    stream: Stream[int] = Stream.of(rx.of(1, 2, 3))
    assert isinstance(getattr(stream, name)(*arguments), Stream)


# -- rxflow's own operators ---------------------------------------------------------------------

EVENTS: list[FlowRunEvent] = [
    seen(),
    entered("Running", 1),
    line(2, "17 rows", level=20),
    line(3, "no disk", level=40, task=TASK),
    line(2.5, "late", level=30),
    entered("Failed", 4),
]
OWN: dict[str, tuple[Any, ...]] = {
    "bounded": (100, "drop_oldest"),
    "conflate": (lambda event: event.kind,),
    "for_task": (TASK,),
    "in_order": (5,),
    "level_at_least": ("ERROR",),
    "matching": (r"row|disk",),
    "only": (FlowRunLog,),
    "quiet_for": (600,),
    "rate": (60,),
    "tail": (2,),
    "until_terminal": (RUN,),
}
"""By operator of `rxflow.operators`, arguments that suit events."""


def test_each_operator_is_a_method() -> None:
    """Every name of `rxflow.operators` is a method of a stream."""
    assert sorted(OWN) == operators.__all__


@pytest.mark.parametrize("name", OWN)
def test_a_method_has_the_parameters_of_its_operator(name: str) -> None:
    """Names, kinds and defaults are those of the operator."""
    method = list(inspect.signature(getattr(Stream, name)).parameters.values())[1:]
    operator = inspect.signature(getattr(operators, name)).parameters.values()
    assert [(one.name, one.kind, one.default) for one in method] == [
        (one.name, one.kind, one.default) for one in operator
    ]


@pytest.mark.parametrize("name", OWN)
def test_a_method_does_what_its_operator_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is a stream of the items that the operator gives in `pipe`."""
    monkeypatch.setenv("RXFLOW_API_URL", "http://127.0.0.1:9/api")  # no request is sent
    stream = Stream.of(rx.from_iterable(EVENTS))
    called = getattr(stream, name)(*OWN[name])
    assert isinstance(called, Stream)
    emitted = list(called)
    if name == "rate":  # dated by the watcher's clock
        assert [rate.count for rate in emitted] == [len(EVENTS)]
    else:
        assert emitted == list(stream.pipe(getattr(operators, name)(*OWN[name])))


def test_methods_can_be_chained() -> None:
    """The errors of a stream, each with what came before it, in one expression."""
    stream = Stream.of(rx.from_iterable(EVENTS))
    messages = [
        [event.message for event in events]
        for events in stream.only(FlowRunLog).level_at_least("WARNING").tail(20)
    ]
    assert messages == [["no disk"], ["no disk", "late"]]


def test_a_method_refuses_what_its_operator_refuses() -> None:
    """A wrong argument is an error at the call."""
    with pytest.raises(ValueError, match="n"):
        Stream.of(rx.from_iterable(EVENTS)).tail(0)
