"""The documentation site: Sphinx's settings, and the rules by which our texts become pages.

`sphinx-build -W --keep-going -n -b html docs OUT` builds it, without a network. With
`DOCS_INTERSPHINX=1` in the environment inventories are fetched, and names of Python's own library
are links too.
"""

import builtins
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

import rxflow
import rxflow.operators
import rxflow.sinks
import rxflow.testing
import rxflow.web

_DOCS = Path(__file__).parent
sys.path.insert(0, str(_DOCS))
from marbles import Marbles, is_diagram  # noqa: E402 - beside this file

project = "rxflow"
author = "the rxflow authors"
# Shown at the foot of each page.
copyright = "the rxflow authors, Apache License 2.0"  # noqa: A001 - Sphinx's name for it
version = release = rxflow.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["changelog.d"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
# A copied example has neither prompts nor output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_title = f"rxflow {version}"

# -- the reference, made from docstrings ----------------------------------------------------------

# A name in single backticks is a link, wherever it is documented.
default_role = "any"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88

nitpick_ignore_regex = [
    # Names of other projects: their pages are known only if inventories are fetched.
    (
        r"any|py:.*",
        r"(collections|contextlib|datetime|httpx|logging|os|random|re|reactivex|ssl|starlette|uuid)(\..*)?",
    ),
    (r"any|py:.*", r"HttpTransport|Logger|SequenceContainsNoElementsError|merge"),
    # Private types in signatures, and type variables.
    (r"py:.*", r"rxflow\.(\w+\.)*(_.*|[A-Z](_co)?)"),
]

if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}


def setup(app: Sphinx) -> None:
    """Register the rules below."""
    app.add_directive("marbles", Marbles)
    app.connect("source-read", _add_unreleased_changes)
    # Before napoleon, which parses sections, and after it.
    app.connect("autodoc-process-docstring", _keep_drawings, priority=400)
    app.connect("autodoc-process-docstring", _shorten_types, priority=600)
    app.connect("autodoc-process-signature", _shorten_signature)
    app.connect("doctree-read", _leave_builtins)
    app.connect("doctree-resolved", _link_names)
    _leave_to_type_checkers()


# -- signatures -----------------------------------------------------------------------------------

_EVENT = stringify_annotation(rxflow.FlowRunEvent, "smart")


def _shorten_signature(*event: Any) -> tuple[str | None, str | None]:
    """Show a struct by its fields' names and defaults, and the union of all events by its name."""
    _, _, _, value, _, signature, returned = event
    if inspect.isclass(value) and issubclass(value, msgspec.Struct):
        fields = (_field(field) for field in msgspec.structs.fields(value))
        return f"(*, {', '.join(fields)})", None
    named = (
        text and text.replace(_EVENT, "~rxflow.FlowRunEvent") for text in (signature, returned)
    )
    return next(named), next(named)


def _field(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return f"{field.name}={field.default_factory()!r}"
    return field.name if field.required else f"{field.name}={field.default!r}"


def _shorten_types(*event: Any) -> None:
    """Show the type of an attribute by its last name."""
    lines: list[str] = event[-1]
    for number, line in enumerate(lines):
        if line.lstrip().startswith(":type:"):
            lines[number] = re.sub(r"(?<![~\w.])(\w+\.)+(?=[A-Za-z])", r"~\g<0>", line)


def _leave_to_type_checkers() -> None:
    """Drop overloads, and the mark of aware times, since all are aware here."""
    for module in ("rxflow.stream", "rxflow.operators"):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        analyzer.overloads.clear()
    for name in rxflow.__all__:
        timestamp = getattr(getattr(rxflow, name), "timestamp", None)
        if isinstance(timestamp, property):
            timestamp.fget.__annotations__["return"] = datetime


# -- drawings -------------------------------------------------------------------------------------


def _keep_drawings(*event: Any) -> None:
    """Show a block that is indented under running text as code, as Markdown does; draw a diagram.

    reStructuredText would make it a quotation, and set a marble diagram as prose.
    """
    lines: list[str] = event[-1]
    lines[:] = list(_with_marks(lines))


def _with_marks(lines: Iterable[str]) -> Iterator[str]:
    text, after_blank = (
        "",
        False,
    )  # the last non-blank line, and whether a blank one followed
    for line in lines:
        if _is_drawn(line) and after_blank and _is_running_text(text):
            yield from (".. marbles::" if is_diagram(line) else ".. code-block:: text", "")
        yield line
        after_blank = not line.strip()
        text = text if after_blank else line


def _is_drawn(line: str) -> bool:
    return line.startswith("    ") and bool(line.strip())


def _is_running_text(line: str) -> bool:
    return bool(line) and not line[0].isspace() and not re.search(r"::$|^[-*.]", line)


# -- changes that are not released yet -----------------------------------------------------------

_KINDS_OF_CHANGE = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
}  # as in pyproject.toml


def _add_unreleased_changes(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the fragments, of which a release makes its notes, above the released versions."""
    if page == "changelog":
        source[0] = source[0].replace("```{include}", f"{_unreleased()}\n```{{include}}", 1)


def _unreleased() -> str:
    parts = ["## Not released yet\n"]
    for kind, title in _KINDS_OF_CHANGE.items():
        texts = [path.read_text("utf-8") for path in sorted(_DOCS.glob(f"changelog.d/*.{kind}.md"))]
        items = [f"- {text.strip()}".replace("\n", "\n  ") for text in texts]
        parts += [f"### {title}\n", *items, ""] if items else []
    return "\n".join(parts)


# -- names ----------------------------------------------------------------------------------------

_MODULES = (rxflow, rxflow.operators, rxflow.sinks, rxflow.testing, rxflow.web)
_NAMES = {name: f"{module.__name__}.{name}" for module in _MODULES for name in module.__all__}


def _leave_builtins(_: Sphinx, doctree: nodes.document) -> None:
    """Keep the builtin `type` of an annotation from linking to `State.type`."""
    for reference in list(doctree.findall(pending_xref)):
        if hasattr(builtins, reference.get("reftarget", "")):
            reference.replace_self(reference.children)


def _link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Turn a public name in backticks into a link to the reference.

    The pages stay plain Markdown, readable without the site.
    """
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference | pending_xref):
            continue
        target = _target_of(literal.astext(), app.env)
        if target is not None and target[0] != page:
            literal.replace_self(make_refnode(app.builder, page, *target, literal.deepcopy()))


def _target_of(text: str, env: BuildEnvironment) -> tuple[str, str] | None:
    """Return the page and the anchor of `name`, `module.name` or `name(arguments)`."""
    named = re.fullmatch(r"([\w.]+)(\(.*\))?", text)
    if named is None:
        return None
    name = named[1].removeprefix("rxflow.")
    first, dot, rest = name.partition(".")
    entries = env.domains["py"].data["objects"]
    for full in (f"rxflow.{name}", f"{_NAMES.get(first, '')}{dot}{rest}"):
        if full in entries:
            return entries[full].docname, entries[full].node_id
    return None
