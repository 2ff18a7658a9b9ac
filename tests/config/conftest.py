"""Installations of Prefect for the tests of settings."""

from pathlib import Path

import pytest
from prefect_installation import PROFILES, Installation


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    """An installation in which nothing is set."""
    return Installation(tmp_path)


@pytest.fixture
def profiled(tmp_path: Path) -> Installation:
    """An installation with the profiles of `PROFILES` in the home directory."""
    return Installation(tmp_path, {"home/.prefect/profiles.toml": PROFILES})
