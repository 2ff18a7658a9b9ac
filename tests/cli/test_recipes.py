"""The recipes of the page on the command line print what it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_world import PAGE, Shell, Step, recipe_server, recipes_in

RECIPES = recipes_in(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The API's URL."""
    with recipe_server().serve() as url:
        yield url


def test_there_are_ten_recipes() -> None:
    """A block that is not found would not be tested."""
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe[0].command for recipe in RECIPES])
def test_a_recipe_prints_what_its_page_says(recipe: list[Step], url: str, tmp_path: Path) -> None:
    """Each command of a recipe, in order; `tests/tools/write_recipes.py` rewrites the page."""
    shell = Shell(tmp_path, url)
    for step in recipe:
        assert shell.output_of(step.command) == step.output, step.command
