"""Fluent methods: their declared types agree with the methods that run."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.scheduler import CurrentThreadScheduler

import rxflow
from rxflow import Stream

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
