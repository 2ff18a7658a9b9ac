"""The command that gets a PostgreSQL server: what it finds, and what it says where there is none.

How packages are downloaded and unpacked is tested with those of the browser.
"""

from pathlib import Path

import pytest
from install_postgres import find_postgres, install


def add_server(root: Path, version: str, *, pg_trgm: bool = True) -> Path:
    """Put a server below the root of a file system; return the folder of its programs."""
    programs = root / "usr/lib/postgresql" / version / "bin"
    extension = root / "usr/share/postgresql" / version / "extension"
    for folder in (programs, extension):
        folder.mkdir(parents=True)
    (programs / "postgres").touch()
    if pg_trgm:
        (extension / "pg_trgm.control").touch()
    return programs


def test_the_newest_installed_server_is_used(tmp_path: Path) -> None:
    """By its number, and only with the extension that Prefect needs."""
    add_server(tmp_path / "system", "9")
    newest = add_server(tmp_path / "system", "15")
    add_server(tmp_path / "system", "17", pg_trgm=False)
    add_server(tmp_path / "unpacked", "18")
    assert find_postgres(tmp_path, tmp_path / "system") == (newest, {})
    assert install(tmp_path, tmp_path / "system") is None


def test_an_unpacked_server_has_its_libraries(tmp_path: Path) -> None:
    """Where none is installed."""
    programs = add_server(tmp_path / "unpacked", "15")
    library = tmp_path / "unpacked/usr/lib/libpq.so.5"
    library.touch()
    found = find_postgres(tmp_path, tmp_path / "system")
    assert found == (programs, {"LD_LIBRARY_PATH": str(library.parent)})


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server and without apt-get."""
    monkeypatch.setenv("PATH", str(tmp_path))
    add_server(tmp_path / "system", "15", pg_trgm=False)
    assert find_postgres(tmp_path, tmp_path / "system") is None
    reason = install(tmp_path, tmp_path / "system") or ""
    assert "no PostgreSQL with pg_trgm is installed, and there is no apt-get" in reason
