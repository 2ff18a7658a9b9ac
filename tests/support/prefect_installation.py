"""An installation of Prefect for tests of settings, and what its settings and errors show."""

import copy
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings, load_settings
from rxflow.errors import ConfigurationError

URL = "http://a.example/api"
PROFILE_URL = "https://prefect.example/api"
CLOUD_PROFILE_URL = "https://cloud.example/api/accounts/a/workspaces/w"
PROFILES = """
active = "rx"

[profiles.rx]
PREFECT_API_URL = "https://prefect.example/api"
PREFECT_API_AUTH_STRING = "admin:s3cret"
PREFECT_CLIENT_CUSTOM_HEADERS = "{\\"X-Proxy\\":\\"1\\"}"

[profiles.cloud]
PREFECT_API_URL = "https://cloud.example/api/accounts/a/workspaces/w"
PREFECT_API_KEY = "pnu_1"
PREFECT_API_TLS_INSECURE_SKIP_VERIFY = true

[profiles.idle]
"""

MARK = "s3cr3t"
"""A part of each secret, to be searched for in `visible_text`."""


class Installation:
    """A home directory, a working directory and an environment that is a dict.

    Args:
        root: The directory in which both directories are created.
        files: The texts of files to write, by their path from `root`.
    """

    def __init__(self, root: Path, files: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.cwd = root / "cwd"
        self.home = root / "home"
        self.cwd.mkdir(parents=True, exist_ok=True)
        self.write_all(files or {})

    def write(self, name: str, text: str) -> None:
        """Write a file, named by its path from the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")

    def write_all(self, files: Mapping[str, str]) -> None:
        """Write several files."""
        for name, text in files.items():
            self.write(name, text)

    def load(self, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Load the settings of this installation; "@/" in a variable stands for its root."""
        environ = {k: v.replace("@/", f"{self.root}/") for k, v in (environ or {}).items()}
        return load_settings(environ=environ, cwd=self.cwd, home=self.home, **arguments)

    def error(self, environ: Mapping[str, str] | None = None, **arguments: Any) -> str:
        """Return the message of the error that loading the settings raises."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(environ, **arguments)
        return str(caught.value)

    def visible_text(self, **arguments: Any) -> str:
        """Return all that can be seen of the settings, or of the error that loading them raises."""
        try:
            settings = self.load(**arguments)
        except ConfigurationError as error:
            return _visible_text_of_error(error)
        copied = copy.copy(settings)
        return f"{settings}{settings!r}{settings!s:>10}{copied!r}{vars(Secret)}{settings.origin}"


def _visible_text_of_error(error: BaseException) -> str:
    """Return all that a traceback collector sees below the frames of the caller."""
    texts = [repr(error), *traceback.format_exception(error)]
    for chained in (error.__cause__, error.__context__):
        texts += [_visible_text_of_error(chained)] if chained is not None else []
    frames = list(traceback.walk_tb(error.__traceback__))
    inner = [frame for frame, _ in frames if frame.f_globals["__name__"].startswith("rxflow")]
    # The outermost frame of the library holds the arguments, as does its caller.
    return "".join(texts + [repr(frame.f_locals) for frame in inner[1:]])
