"""Name options of the command line in place of the arguments of the library that errors name.

The library quotes an argument as ``name=value``, or as "the argument name". Values in quotes, which
are the user's or the server's, and URLs are left as they are.
"""

import re
from collections.abc import Mapping

__all__ = ["as_options"]

_OPTIONS: Mapping[str, str] = {
    "api_url": "--api-url",
    "backend": "--backend",
    "creds": "--creds",
    "deployment": "--deployment",
    "flow": "--flow",
    "flow_run_ids": "RUN",
    "level": "--level",
    "max_duration": "--timeout",
    "name": "--name",
    "parent": "--parent",
    "password": "--password-file",
    "profile": "--profile",
    "since": "--since",
    "started_after": "--since",
    "states": "--state",
    "tags": "--tag",
    "timeout": "--timeout",
    "tls": "--tls-ca",
    "token": "--token-file",
    "user": "--user",
    "work_pool": "--work-pool",
}

_NAMES = "|".join(_OPTIONS)
_LONG_NAMES = "|".join(name for name in _OPTIONS if "_" in name)  # which are no English words
_NAMED = re.compile(
    r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""  # a value, or a text with one
    rf"|(?:the )?\bargument (?P<mentioned>{_NAMES})\b"
    rf"|(?<![\w?&/.-])(?P<given>{_NAMES})=(?=[\s'\"]|$)"
    rf"|(?<![\w?&/.-])(?P<word>{_LONG_NAMES})(?![\w=])"
)
_TEXTS = (
    ("pass api_key=..., or set ", "set "),  # which is no option
    (
        "Pass both user= and password= to NATS",
        (
            "Pass both --user and --password-file to NATS, or set RXFLOW_RELAY_USER and "
            "RXFLOW_RELAY_PASSWORD"
        ),
    ),
    (
        # Of the command there are none: it watches always the same.
        "pass the same arguments as before, or the path of another directory",
        "pass another directory as --journal",
    ),
    ("pass the path of another directory", "pass another directory as --journal"),
    ("pass the path of a directory", "pass a directory as --journal"),
)


def as_options(text: str, options: Mapping[str, str] = _OPTIONS) -> str:
    """Return an error's text with options in place of arguments.

    Args:
        text: The text.
        options: What some arguments are passed as, if it is not what `rxflow watch` has.
    """

    def option_of(found: re.Match[str]) -> str:
        name = found["mentioned"] or found["given"] or found["word"]
        if name is None:
            return found[0]
        option = options.get(name, _OPTIONS[name])
        has_value = found["given"] is not None and text.startswith(("'", '"'), found.end())
        return f"{option} " if has_value else option

    for of_library, of_command in _TEXTS:
        text = text.replace(of_library, of_command)
    return _NAMED.sub(option_of, text)
