"""Every Python block of README.md and of the pages in docs/ runs, in order, on a real server.

The blocks of one document share a namespace, which has the `run_id` of an ended run, and of the
page on relays the URL of a `broker` with a relay. A block may `await` at its top level, as in a
notebook, and write files into its working directory. `<!-- skip: next -->` skips the next block.
"""

import ast
import asyncio
import inspect
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _run(block: Example) -> None:
    source = pad(block.parsed, block.line + block.parsed.line_offset)
    code = compile(source, block.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    # eval, not exec: it returns the coroutine that a top-level `await` makes of the block.
    result = eval(code, block.namespace)  # noqa: S307
    if inspect.iscoroutine(result):
        asyncio.run(result)


SYBIL = Sybil([CodeBlockParser("python", _run), SkipParser()])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_runs(
    path: Path,
    run_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Each Python block of the document runs without an error, after those above it."""
    monkeypatch.chdir(tmp_path)
    document = SYBIL.parse(path)
    document.namespace.update(__name__="__main__", run_id=run_id)
    if path == ROOT / "docs" / "relay.md":
        document.namespace["broker"] = request.getfixturevalue("broker")
    for block in document:
        block.evaluate()
