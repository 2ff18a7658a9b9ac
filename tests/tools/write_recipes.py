"""Write what the recipes for the command line print into their page.

``python tests/tools/write_recipes.py``, after a change of what a command prints. The commands run
against a fake server, whose runs, ids and times are always the same.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from recipe_world import PAGE, Shell, recipe_server, with_outputs


def main() -> None:
    """Rewrite the page."""
    with recipe_server().serve() as url, tempfile.TemporaryDirectory() as directory:
        page = with_outputs(PAGE.read_text(encoding="utf-8"), Shell(Path(directory), url))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
