"""How a .env file is parsed."""

import pytest
from prefect_installation import URL, Installation

from rxflow._config.secrets import Secret


@pytest.mark.parametrize(
    ("line", "key"),
    [
        pytest.param("PREFECT_API_KEY=a#b c  ", "a#b c", id="bare, a hash inside"),
        pytest.param("PREFECT_API_KEY=ab # c", "ab", id="comment"),
        pytest.param("PREFECT_API_KEY= # c", None, id="only a comment"),
        pytest.param("export PREFECT_API_KEY = ab", "ab", id="export and blanks"),
        pytest.param("prefect_api_key='a # b' # c", "a # b", id="single quotes"),
        pytest.param(r"PREFECT_API_KEY='a\'\\\n'", r"a'\\n", id="escapes in single quotes"),
        pytest.param(r'PREFECT_API_KEY="a\"\\\tb"', 'a"\\\tb', id="escapes in double quotes"),
        pytest.param("PREFECT_API_KEY='a'b", None, id="text after the quotes"),
        pytest.param("PREFECT API KEY=a", None, id="not a binding"),
        pytest.param("PREFECT_API_KEY=a\nPREFECT_API_KEY=b", "b", id="the last one counts"),
        pytest.param("\ufeffPREFECT_API_KEY=a", "a", id="byte order mark"),
        pytest.param("A=1\nPREFECT_API_KEY=${A}${B}${C:-3}${D}", "123", id="references"),
        pytest.param("X='\nPREFECT_API_KEY=no\n'\nPREFECT_API_KEY=a", "a", id="many lines quoted"),
    ],
)
def test_dotenv_grammar(bare: Installation, line: str, key: str | None) -> None:
    """A .env file is parsed by the grammar of python-dotenv."""
    bare.write("cwd/.env", line)
    settings = bare.load({"PREFECT_API_URL": URL, "B": "2"})
    assert settings.api_key == (None if key is None else Secret(key))
