"""Take the picture of a terminal that README shows: ``python tests/tools/terminal_picture.py``.

`rxflow demo` is run in a terminal, which is a real flow run on a real Prefect server; the picture
is the last screen on which the run and its subflow are at work. Needs the extra ``demo``, and takes
a minute.
"""

import re
import sys
from collections.abc import Mapping
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pexpect
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from terminals import Terminal

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "watch.svg"

COLUMNS, LINES = 96, 26

# Without the fonts that rich would load from elsewhere; each text has its width in the picture.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
)

_COLOURS: Mapping[str, str] = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""Names of pyte that rich has other names for."""


def main() -> None:
    """Run the demo and write the picture."""
    with Terminal("demo", columns=COLUMNS, lines=LINES) as terminal:
        chosen: Text | None = None
        try:
            while True:
                terminal._read()
                if _is_worth_a_picture(terminal.lines()):
                    chosen = _text_of(terminal.screen)
        except pexpect.EOF:
            terminal.child.wait()
    assert chosen is not None, "the state of the run was never shown"
    console = Console(width=COLUMNS, file=StringIO(), record=True, force_terminal=True)
    console.print(chosen)
    picture = console.export_svg(
        title="rxflow demo", theme=MONOKAI, code_format=_FORMAT, unique_id="rxflow"
    )
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")


def _is_worth_a_picture(lines: list[str]) -> bool:
    """Whether the states of the run and of its subflow are shown, and one is at work."""
    states = [line for line in lines[-8:] if "-report / " in line]
    return len(states) == 2 and any(" Running " in line for line in states)


def _text_of(screen: Any) -> Text:
    """Return what a screen shows, with its colours."""
    text = Text(no_wrap=True)
    for y in range(screen.lines):
        cells = [screen.buffer[y][x] for x in range(screen.columns)]
        for style, alike in groupby(cells, key=_style_of):
            text.append("".join(cell.data for cell in alike), style)
        text.append("\n")
    text.rstrip()
    return text


def _style_of(cell: Any) -> Style:
    return Style(
        color=_colour_of(cell.fg),
        bgcolor=_colour_of(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour_of(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    name = _COLOURS.get(name, name)
    return name.replace("bright", "bright_", 1) if name.startswith("bright") else name


if __name__ == "__main__":
    main()
