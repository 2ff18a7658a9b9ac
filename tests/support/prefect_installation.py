"""An installation of Prefect for tests of settings, and what can be seen of what is found there."""

import copy
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings, load_settings
from rxflow.errors import ConfigurationError


class Installation:
    """A home and a working directory of their own, and an environment that is a dict."""

    def __init__(self, root: Path, files: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.cwd = root / "cwd"
        self.home = root / "home"
        self.cwd.mkdir(parents=True, exist_ok=True)
        for name, text in (files or {}).items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file, named from the root that home and working directory share."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")

    def load(self, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Load the settings of this place; "@/" in a variable stands for its root."""
        environ = {k: v.replace("@/", f"{self.root}/") for k, v in (environ or {}).items()}
        return load_settings(environ=environ, cwd=self.cwd, home=self.home, **arguments)

    def fails(self, environ: Mapping[str, str] | None = None, **arguments: Any) -> str:
        """Return the message of the error that comes in place of settings."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(environ, **arguments)
        return str(caught.value)


MARK = "s3cr3t"


def everything_told_by(error: BaseException) -> str:
    """Return all that a tool which collects tracebacks sees below the caller's own frames."""
    told = [repr(error), *traceback.format_exception(error)]
    for chained in (error.__cause__, error.__context__):
        told += [everything_told_by(chained)] if chained is not None else []
    frames = list(traceback.walk_tb(error.__traceback__))
    inner = [frame for frame, _ in frames if frame.f_globals["__name__"].startswith("rxflow")]
    # The outermost holds the arguments, as does its caller.
    return "".join(told + [repr(frame.f_locals) for frame in inner[1:]])


def everything_told_of(installation: Installation, **arguments: Any) -> str:
    """Return what can be seen of the settings, or of the error in place of them."""
    try:
        settings = installation.load(**arguments)
    except ConfigurationError as error:
        return everything_told_by(error)
    copied = copy.copy(settings)
    return f"{settings}{settings!r}{settings!s:>10}{copied!r}{vars(Secret)}{settings.origin}"
