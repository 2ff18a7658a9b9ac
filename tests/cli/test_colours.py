"""Colours: by the option, by the environment, and else by the terminal."""

import click
import pytest
from click.testing import CliRunner

from rxflow.cli._colours import colour_of_environment, colour_option


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True),
        ({"CLICOLOR_FORCE": "0"}, None),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
    ids=str,
)
def test_the_environment_decides(variables: dict[str, str], coloured: bool | None) -> None:
    """The first of the variables that says anything counts; an empty one says nothing."""
    assert colour_of_environment(variables) is coloured


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([], "red"),
        (["--color", "always"], "\x1b[31mred\x1b[0m"),
        (["--color", "never"], "red"),
        (["--color", "auto"], "red"),
    ],
    ids=str,
)
def test_the_option_decides_before_the_terminal(arguments: list[str], written: str) -> None:
    """Output that is no terminal has colours only if they are wanted always."""

    @click.command()
    @colour_option
    def command() -> None:
        click.echo(click.style("red", fg="red"))

    assert CliRunner().invoke(command, arguments).output == f"{written}\n"
