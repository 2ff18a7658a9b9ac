"""The directories in which Prefect keeps results, by the environment."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from rxflow._config.result_directories import result_directories

HOME = Path("/srv/ada")

CASES: dict[str, tuple[Mapping[str, str], str, str]] = {
    "nothing is set": ({}, "/srv/ada/.prefect/storage", "/srv/ada/.prefect/results"),
    "an empty text": (
        {"PREFECT_LOCAL_STORAGE_PATH": "", "PREFECT_HOME": ""},
        "/srv/ada/.prefect/storage",
        "/srv/ada/.prefect/results",
    ),
    "the storage": (
        {"PREFECT_LOCAL_STORAGE_PATH": "/srv/results", "PREFECT_HOME": "/srv/prefect"},
        "/srv/results",
        "/srv/ada/.prefect/results",
    ),
    "the storage by its other name": (
        {"PREFECT_RESULTS_LOCAL_STORAGE_PATH": "~/a", "PREFECT_LOCAL_STORAGE_PATH": "/srv/b"},
        "/srv/ada/a",
        "/srv/ada/.prefect/results",
    ),
    "the homes": (
        {"PREFECT_HOME": "~/three", "PREFECT__HOME_DIR": "~/one"},
        "/srv/ada/three/storage",
        "/srv/ada/one/results",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_directories_by_environment(case: str) -> None:
    """Each Prefect has one directory, which its variables move."""
    environ, *expected = CASES[case]
    assert result_directories(environ, HOME) == tuple(map(Path, expected))


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments the environment and the home of the user are used."""
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", "/srv/results")
    assert Path("/srv/results") in result_directories()
