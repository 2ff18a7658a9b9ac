"""The public API: `__all__` is complete, every name has a docstring, and examples run."""

import ast
import doctest
import importlib
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import rxflow

PACKAGE = Path(rxflow.__file__).parent


def name_of(path: Path) -> str:
    """The module's name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


SOURCES = {name_of(path): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {name_of(path) for path in PACKAGE.rglob("__init__.py")}
PUBLIC = [name for name in SOURCES if "._" not in name]
WITH_EXAMPLES = [name for name, source in SOURCES.items() if ">>> " in source]

each_module = pytest.mark.parametrize("module", PUBLIC)


def exports(module: str) -> dict[str, object]:
    """The names of a module's `__all__`."""
    loaded = importlib.import_module(module)
    return {name: getattr(loaded, name) for name in loaded.__all__}


# -- what a module defines ----------------------------------------------------------------------


def assigned(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement assigns, without type variables, which are not exported."""
    match statement:
        case ast.Assign(value=ast.Call(func=ast.Name("TypeVar" | "ParamSpec"))):
            return
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(name)):
            yield name
        case _:
            return


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that type checkers read."""
    for statement in tree.body:
        match statement:
            case ast.If(test=ast.Name("TYPE_CHECKING"), body=body):
                yield from body
            case _:
                yield statement


def defined(module: str) -> set[str]:
    """The names that a module defines; for a package or a facade, also those it re-exports."""
    names: set[str] = set()
    body = list(top_level(ast.parse(SOURCES[module])))
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    is_facade = not any(isinstance(statement, definitions) for statement in body)
    for statement in body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ImportFrom(module=str(origin), names=aliases) if (
                module in PACKAGES and origin.startswith(f"{module}.")
            ) or (is_facade and module not in PACKAGES and origin.startswith("rxflow._")):
                names.update(alias.asname or alias.name for alias in aliases)
            case _:
                names.update(assigned(statement))
    return {name for name in names if not name.startswith("_")}


@each_module
def test_a_public_module_exports_what_it_defines(module: str) -> None:
    """`__all__` has exactly the names of its module that do not begin with an underscore."""
    assert set(exports(module)) == defined(module)


@pytest.mark.parametrize("module", [name for name in PUBLIC if name != "rxflow"])
def test_exports_are_in_order(module: str) -> None:
    """`__all__` of each public module is sorted, without repeats."""
    names = importlib.import_module(module).__all__
    assert names == sorted(set(names))


# -- docstrings ---------------------------------------------------------------------------------


def attribute_docstring(name: str) -> str | None:
    """The docstring under the assignment of a name, in any module."""
    for source in SOURCES.values():
        body = ast.parse(source).body
        for statement, following in pairwise(body):
            match following:
                case ast.Expr(value=ast.Constant(value=str(text))) if name in assigned(statement):
                    return text
                case _:
                    pass
    return None


def docstring(name: str, value: object) -> str | None:
    """The docstring of a name; an inherited one does not count."""
    is_class = inspect.isclass(value)
    return (
        value.__doc__ if is_class or isinstance(value, FunctionType) else attribute_docstring(name)
    )


def own_methods(kind: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class that rxflow itself defines."""
    for base in kind.__mro__:
        if not base.__module__.startswith("rxflow"):
            continue
        for name, value in vars(base).items():
            method = value.fget if isinstance(value, property) else value
            plain = getattr(method, "__func__", method)
            if not name.startswith("_") and isinstance(plain, FunctionType):
                yield f"{base.__name__}.{name}", plain


@each_module
def test_every_public_name_has_a_docstring(module: str) -> None:
    """Each name of `__all__` has a docstring of its own."""
    found = {name: docstring(name, value) for name, value in exports(module).items()}
    assert [name for name, text in found.items() if not (text or "").strip()] == []


@each_module
def test_every_public_method_has_a_docstring(module: str) -> None:
    """Each public method and property of a public class has a docstring."""
    classes = [value for value in exports(module).values() if inspect.isclass(value)]
    methods = [method for kind in classes for method in own_methods(kind)]
    assert [name for name, method in methods if not (method.__doc__ or "").strip()] == []


def test_methods_of_all_sorts_are_found() -> None:
    """Methods, static methods, properties and inherited methods are found."""
    found = {
        name
        for value in exports("rxflow").values()
        if inspect.isclass(value)
        for name, _ in own_methods(value)
    }
    assert {"Closed.raise_for_state", "State.is_terminal", "Stream.of", "Stream.pipe"} <= found


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    """The output of each example is as shown; those marked as skipped need a server."""
    loaded: ModuleType = importlib.import_module(module)
    assert doctest.testmod(loaded).failed == 0
