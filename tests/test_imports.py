"""Imports: each public name is imported when it is first used, and found as if it always were.

What must happen in a fresh interpreter is a program of its own.
"""

import ast
import inspect
import pickle
import pydoc
import rlcompleter
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from sample_events import closed, entered, line, seen, task_entered
from virtual_world import TEST_TIMEOUT

import rxflow
from rxflow.cli._commands.group import COMMANDS
from rxflow.testing import FakePrefect3

MODULES = [
    "agents",
    "client",
    "errors",
    "events",
    "operators",
    "printing",
    "stream",
    "views",
    "watch",
]

HEAVY = {"httpx", "hypothesis", "loguru", "prefect", "pygments", "rich", "zoneinfo"}
"""Packages that take long to import, and are not needed before the first request."""

EVENTS = [seen(), entered("Running"), line(1), task_entered("Running"), closed()]

URL = "http://127.0.0.1:4200/api"
RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def output_of(program: str, *arguments: str) -> str:
    """What a program prints in an interpreter of its own; it must end well."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def imported_by(program: str, *arguments: str) -> set[str]:
    """The packages that an interpreter has imported after a program."""
    show = (
        "print('\\n', *{name.partition('.')[0] for name, module in sys.modules.items() if module})"
    )
    text = f"import atexit, sys\natexit.register(lambda: {show})\n{program}"
    return set(output_of(text, *arguments).splitlines()[-1].split())


# -- what is imported when ----------------------------------------------------------------------


def test_rxflow_imports_no_other_package() -> None:
    """`import rxflow` imports no package that is not Python's own, and of those no large one."""
    imported = imported_by("import rxflow")
    assert imported & (HEAVY | {"asyncio", "inspect", "logging", "msgspec", "reactivex"}) == set()
    assert imported - imported_by("pass") - sys.stdlib_module_names == {"rxflow"}


def test_a_watch_that_was_not_begun_needs_no_httpx() -> None:
    """A client and a stream are made without importing what sends requests."""
    imported = imported_by(f"""
import rxflow
rxflow.watch_flow_run({RUN_ID!r}, client=rxflow.Client(api_url={URL!r}))
""")
    assert imported & HEAVY == set()


def test_a_watch_needs_no_loguru() -> None:
    """A whole watch imports no loguru: where the program has not, nothing can be logged."""
    imported = imported_by("""
import rxflow
from rxflow.testing import FakePrefect3
server = FakePrefect3()
run = server.add_run(state="COMPLETED")
assert list(rxflow.watch_flow_run(run, drain=0, client=server.client()))
""")
    assert "httpx" in imported
    assert "loguru" not in imported


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)],
    ids=" ".join,
)
def test_help_is_shown_without_what_watching_needs(arguments: list[str]) -> None:
    """The command line imports the parts of a command when that command is run."""
    imported = imported_by("from rxflow.cli import main; main()", *arguments)
    assert "click" in imported
    assert imported & (HEAVY | {"asyncio", "reactivex"}) == set()


def test_watching_on_the_command_line_needs_neither_rich_nor_http_2() -> None:
    """`rxflow watch` does without httpx's command line and HTTP/2, and httpx is whole without."""
    server = FakePrefect3()
    run_id = server.add_run(state="COMPLETED")
    program = """
class Finder:  # so that it makes no difference whether h2 is installed
    @staticmethod
    def find_spec(name, path=None, target=None):
        assert name != "h2", "HTTP/2 is imported"

sys.meta_path.insert(0, Finder)
from rxflow.cli import main
try:
    main()
finally:
    import httpx
    assert set(httpx.__all__) <= set(vars(httpx))
"""
    with server.serve() as url:
        imported = imported_by(program, "watch", run_id, "--api-url", url)
    assert "httpx" in imported
    assert imported & (HEAVY - {"httpx"}) == set()


# -- every name ---------------------------------------------------------------------------------


FIRST = {
    "names": [f"import rxflow; rxflow.{name}" for name in rxflow.__all__],
    "attributes": [f"import rxflow; rxflow.{name}" for name in MODULES],
    "modules": [f"import rxflow.{name}; rxflow.{name}" for name in [*MODULES, "sinks"]],
    "imported names": [f"from rxflow import {name}" for name in ["operators", "sinks", "Stream"]],
}


@pytest.mark.parametrize("statements", FIRST.values(), ids=FIRST)
def test_each_name_can_be_the_first(statements: list[str], tmp_path: Path) -> None:
    """Each name, and each module, is found where nothing of rxflow was imported before it."""
    printed = output_of(
        """
import os, sys
import msgspec, reactivex  # once for all; rxflow is compiled once
sys.pycache_prefix, sys.dont_write_bytecode = sys.argv[1], False
for statement in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        exec(statement)
        os._exit(0)
    print(statement, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep=" -> ")
""",
        str(tmp_path),
        *statements,
    )
    assert printed.splitlines() == [f"{statement} -> 0" for statement in statements]


def test_each_name_comes_from_where_type_checkers_find_it() -> None:
    """What is imported at first use are the names, and the modules, of the typed imports."""
    tree = ast.parse(Path(rxflow.__file__).read_text("utf-8"))
    (typed,) = [part.body for part in tree.body if isinstance(part, ast.If) and len(part.body) > 9]
    imports = [part for part in typed if isinstance(part, ast.ImportFrom)]
    homes = {name.name: part.module for part in imports for name in part.names}
    assert homes.pop("operators") == "rxflow"
    assert vars(rxflow)["_HOMES"] == homes
    assert sorted(homes) == rxflow.__all__


@pytest.mark.parametrize("name", MODULES)
def test_public_modules_are_attributes(name: str) -> None:
    """A public module is an attribute of rxflow, and the one that `import` finds."""
    module = getattr(rxflow, name)
    assert isinstance(module, ModuleType)
    assert module is import_module(f"rxflow.{name}")


def test_no_name_is_hidden_by_a_module() -> None:
    """No module of rxflow has the name of a class or function, which it would replace."""
    modules = {path.stem for path in Path(rxflow.__file__).parent.iterdir()}
    assert modules & set(rxflow.__all__) == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name gives the usual errors, and `hasattr` is False."""
    with pytest.raises(AttributeError, match="module 'rxflow' has no attribute 'watch_flow_rum'"):
        rxflow.watch_flow_rum  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'watch_flow_rum' from 'rxflow'"):
        exec("from rxflow import watch_flow_rum", {})  # noqa: S102
    assert not hasattr(rxflow, "__path_hooks__")


def test_each_name_is_imported_once() -> None:
    """A name is then in the module's own variables, where finding it costs nothing."""
    assert rxflow.Closed is rxflow.events.Closed
    assert vars(rxflow)["Closed"] is rxflow.Closed


def test_a_star_import_imports_all_names() -> None:
    """`from rxflow import *` gives the names of `__all__`, in a fresh interpreter."""
    printed = output_of("""
before = set(globals())
from rxflow import *
print(*sorted(set(globals()) - before - {"before"}))
""")
    assert printed.split() == rxflow.__all__


# -- looking around -----------------------------------------------------------------------------


def test_all_names_are_listed_before_they_are_imported() -> None:
    """`dir` has all names, sorted, in a fresh interpreter."""
    printed = output_of("import rxflow; print(*dir(rxflow))").split()
    assert printed == sorted(printed)
    assert {*rxflow.__all__, *MODULES, "__all__", "__version__"} <= set(printed)


def test_members_can_be_inspected() -> None:
    """`inspect.getmembers` finds every public name, in a fresh interpreter too."""
    members = dict(inspect.getmembers(rxflow))
    assert {name: members[name] for name in rxflow.__all__} == {
        name: getattr(rxflow, name) for name in rxflow.__all__
    }
    show = "import inspect, rxflow; print(*dict(inspect.getmembers(rxflow)))"
    assert set(rxflow.__all__) <= set(output_of(show).split())


def test_a_shell_completes_names() -> None:
    """The completer of Python's shell finds names that were not imported yet."""
    completer = rlcompleter.Completer({"rxflow": rxflow})
    assert completer.complete("rxflow.watch_f", 0) == "rxflow.watch_flow_run("
    printed = output_of(
        "import rlcompleter, rxflow; print(rlcompleter.Completer().complete('rxflow.wait_f', 0))"
    )
    assert printed.startswith("rxflow.wait_for_flow_run")


def test_help_describes_all_names() -> None:
    """`help(rxflow)` describes every class and function."""
    text = pydoc.plain(pydoc.render_doc(rxflow))
    described = [
        name
        for name in rxflow.__all__
        if inspect.isclass(value := getattr(rxflow, name)) or inspect.isfunction(value)
    ]
    assert [name for name in described if name not in text] == []
    assert "watch_flow_run(" in output_of("import rxflow; help(rxflow)")


# -- pickles ------------------------------------------------------------------------------------


def test_classes_and_functions_name_where_they_are_found() -> None:
    """Each public class and function is found by its module and name, as pickles do it."""
    found = [getattr(rxflow, name) for name in rxflow.__all__]
    named = [value for value in found if inspect.isclass(value) or inspect.isfunction(value)]
    assert [pickle.loads(pickle.dumps(value)) for value in named] == named  # noqa: S301


def test_events_are_unpickled_in_a_fresh_interpreter() -> None:
    """What was pickled is loaded where rxflow was not imported, and equal to what was dumped."""
    dumped = pickle.dumps(EVENTS).hex()
    load = "import pickle, sys; print(*map(repr, pickle.loads(bytes.fromhex(sys.argv[1]))), sep='')"
    assert output_of(load, dumped).rstrip() == "".join(map(repr, EVENTS))


# -- threads ------------------------------------------------------------------------------------


def test_threads_import_names_at_the_same_time() -> None:
    """Threads that need names at the same time get the same objects, and none waits for ever."""
    printed = output_of("""
import rxflow, threading
names = [name for name in rxflow.__all__ for _ in range(2)]
start, found = threading.Barrier(len(names)), []

def find(name):
    start.wait()
    found.append((name, id(getattr(rxflow, name))))

threads = [threading.Thread(target=find, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found), len(set(found)))
""")
    assert printed.split() == [str(2 * len(rxflow.__all__)), str(len(rxflow.__all__))]
