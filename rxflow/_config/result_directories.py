"""The directories in which Prefect keeps results on this machine.

Belongs here: what the environment says, by the names of either Prefect. Does not belong here:
reading a result (`rxflow._views.result_files`).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from rxflow._config.files import home_directory


def result_directories(
    environ: Mapping[str, str] | None = None, home: Path | None = None
) -> tuple[Path, ...]:
    """Return the directories of Prefect 3's local storage and of Prefect 1's local results.

    Prefect 3 (settings/models/results.py, 3.8.8) has a setting for it, under two names, and the
    default ``storage`` in its home; Prefect 1 (engine/results/local_result.py, 1.4.1) has
    ``results`` in its home, unless a flow names another directory.

    Args:
        environ: The environment, None for that of the process.
        home: The home directory, None for that of the user.
    """
    environ = os.environ if environ is None else environ
    user_home = home_directory(home)

    def path_of(text: str) -> Path:
        return user_home / text[2:] if text.startswith("~/") else Path(text)

    names = ("PREFECT_RESULTS_LOCAL_STORAGE_PATH", "PREFECT_LOCAL_STORAGE_PATH")
    named = next((environ[name] for name in names if environ.get(name)), None)
    prefect3_home = path_of(environ.get("PREFECT_HOME") or "~/.prefect")
    prefect1_home = path_of(environ.get("PREFECT__HOME_DIR") or "~/.prefect")
    return (
        path_of(named) if named else prefect3_home / "storage",
        prefect1_home / "results",
    )
