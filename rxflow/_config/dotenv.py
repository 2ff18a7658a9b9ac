"""Parse a .env file by the grammar of python-dotenv, with which Prefect 3 reads it.

The grammar is small, so it is written out here and rxflow does not depend on python-dotenv.
"""

import re
from collections.abc import Mapping
from typing import Final

_BINDING: Final = re.compile(
    r"""
    ^[^\S\n]*(?:export[^\S\n]+)?(?P<name>[^=\#\s]+)[^\S\n]*=
    (?: [^\S\n]+\#.*
      | [^\S\n]*(?: '(?P<single>(?:\\[\s\S]|[^'\\])*)'[^\S\n]*(?:\#.*)?$
                  | "(?P<double>(?:\\[\s\S]|[^"\\])*)"[^\S\n]*(?:\#.*)?$
                  | (?P<bare>(?!['"]).*) ) )
    """,
    re.MULTILINE | re.VERBOSE,
)
_REFERENCE: Final = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_ESCAPES: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


def parse_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a .env file; the last of several bindings of one name counts.

    Args:
        text: The text of the file.
        environ: The environment, in which references are looked up after the file itself.
    """
    variables: dict[str, str] = {}
    for binding in _BINDING.finditer(text):
        variables[binding["name"]] = _REFERENCE.sub(
            lambda name: variables.get(name[1], environ.get(name[1], name[2] or "")),
            _unquote(binding),
        )
    return variables


def _unquote(binding: re.Match[str]) -> str:
    if binding["single"] is not None:
        return re.sub(r"\\([\\'])", r"\1", binding["single"])
    if binding["double"] is not None:
        return re.sub(r"\\([\\'\"abfnrtv])", lambda m: _ESCAPES.get(m[1], m[1]), binding["double"])
    return re.sub(r"\s+#.*", "", binding["bare"] or "").rstrip()
