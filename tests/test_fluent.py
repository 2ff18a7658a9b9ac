"""Fluent calls: what type checkers are told of them is true."""

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
IMPLEMENTED = {method.name: method for method in METHODS}  # of overloads, the one that comes last

# What to call a method with, by the name of its parameter; others are left out.
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


def spelled(method: ast.FunctionDef) -> list[tuple[str, inspect._ParameterKind, bool]]:
    """The name of each parameter, how it is passed, and whether it may be left out."""
    given, kinds = method.args, inspect.Parameter
    required = len(given.args) - len(given.defaults)
    found: list[tuple[str, inspect._ParameterKind, bool]] = [
        (one.arg, kinds.POSITIONAL_OR_KEYWORD, number >= required)
        for number, one in enumerate(given.args)
    ]
    if given.vararg is not None:
        found.append((given.vararg.arg, kinds.VAR_POSITIONAL, False))
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return [*found, *((one.arg, kinds.KEYWORD_ONLY, value is not None) for one, value in named)]


def parameters(function: Any) -> list[tuple[str, inspect._ParameterKind, bool]]:
    """The name of each parameter, how it is passed, and whether it may be left out."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default is not one.empty) for one in found]


@each_method
def test_a_method_is_reactivex_own(name: str) -> None:
    """Each method is one that reactivex has, with the same parameters, and rxflow has none."""
    assert spelled(IMPLEMENTED[name]) == parameters(getattr(Observable, name))
    assert getattr(Stream, name) is getattr(Observable, name)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}:{method.lineno}")
def test_an_overload_leaves_nothing_new(method: ast.FunctionDef) -> None:
    """Each overload has the first of the method's parameters, in order, and gives a stream."""
    names = [name for name, _, _ in spelled(method)]
    assert names == [name for name, _, _ in spelled(IMPLEMENTED[method.name])][: len(names)]
    assert method.returns is not None
    assert ast.unparse(method.returns).startswith("Stream[")


@each_method
def test_a_method_gives_a_stream(name: str) -> None:
    """When the program runs, what each method returns is a stream."""
    wanted = [
        ARGUMENTS[parameter]
        for parameter, kind, optional in parameters(getattr(Observable, name))
        if parameter in ARGUMENTS and kind != inspect.Parameter.KEYWORD_ONLY and not optional
    ]
    stream: Stream[int] = Stream.of(rx.of(1, 2, 3))
    assert isinstance(getattr(stream, name)(*wanted), Stream)
