"""The command that gets a browser: what it finds, what it downloads, and when there is none.

Shell scripts stand for apt-get, apt-cache and dpkg-deb, and note how they were called.
"""

import subprocess
from pathlib import Path

import pytest
from install_chromium import PACKAGE, PROGRAM, find_chromium, install

# apt-get puts two archives into its cache, the second of which has the browser.
APT_GET = """#!/bin/sh
echo "$*" >> "$0.calls"
for word in "$@"; do
    case "$word" in
        --option=Dir::Cache::Archives=*) archives=${word#*Archives=} ;;
        install) : > "$archives/a.deb"; : > "$archives/b.deb" ;;
    esac
done
"""
DPKG_DEB = f"""#!/bin/sh
case "$2" in
    */a.deb) mkdir -p "$3/usr/lib/pulse" && : > "$3/usr/lib/pulse/libpulse.so.0" ;;
    */b.deb) mkdir -p "$3/{PROGRAM.parent}" && : > "$3/{PROGRAM}" ;;
esac
"""
KNOWN, UNKNOWN, OFFLINE = "#!/bin/sh\n", "#!/bin/sh\nexit 100\n", "#!/bin/sh\nexit 100\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH beside the shell's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mkdir", "sh"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(programs: Path, **scripts: str) -> None:
    """Add programs; an underscore in a name stands for a hyphen."""
    for name, script in scripts.items():
        program = programs / name.replace("_", "-")
        program.write_text(script, "utf-8")
        program.chmod(0o755)


def test_a_browser_on_path_is_used(programs: Path, tmp_path: Path) -> None:
    """A Chromium on PATH is used as it is, and nothing is downloaded."""
    add(programs, chromium="#!/bin/sh\n", apt_get=APT_GET, apt_cache=KNOWN, dpkg_deb=DPKG_DEB)
    assert install(tmp_path / "new") is None
    assert find_chromium(tmp_path / "new") == (programs / "chromium", {})
    assert not (tmp_path / "new").exists()


def test_a_browser_is_downloaded_and_unpacked(programs: Path, tmp_path: Path) -> None:
    """Without one, the package and what it needs are unpacked, and found there with its fonts."""
    add(programs, apt_get=APT_GET, apt_cache=KNOWN, dpkg_deb=DPKG_DEB)
    folder = tmp_path / "new"
    assert find_chromium(folder) is None
    assert install(folder) is None
    found = find_chromium(folder)
    assert found is not None
    assert found.program == folder / "unpacked" / PROGRAM
    assert found.variables["LD_LIBRARY_PATH"] == str(folder / "unpacked/usr/lib/pulse")
    fonts = Path(found.variables["FONTCONFIG_FILE"]).read_text("utf-8")
    assert f"<dir>{folder}/unpacked/usr/share/fonts</dir>" in fonts
    updated, downloaded = (programs / "apt-get.calls").read_text("utf-8").splitlines()
    assert updated.endswith("update")
    assert downloaded.endswith(f"--download-only {PACKAGE}")


def test_it_is_downloaded_once(programs: Path, tmp_path: Path) -> None:
    """A second call downloads nothing."""
    add(programs, apt_get=APT_GET, apt_cache=KNOWN, dpkg_deb=DPKG_DEB)
    install(tmp_path / "new")
    add(programs, apt_get=OFFLINE)
    assert install(tmp_path / "new") is None


def test_a_system_without_apt_get_has_no_browser(programs: Path, tmp_path: Path) -> None:
    """Without apt-get, the reason names it."""
    assert "there is no apt-get" in (install(tmp_path / "new") or "")
    assert list(programs.glob("*.calls")) == []


def test_a_system_without_the_package_has_no_browser(programs: Path, tmp_path: Path) -> None:
    """Where apt-get knows no such package, the reason names it."""
    add(programs, apt_get=APT_GET, apt_cache=UNKNOWN, dpkg_deb=DPKG_DEB)
    assert f"no package {PACKAGE}" in (install(tmp_path / "new") or "")
    assert find_chromium(tmp_path / "new") is None


def test_a_failed_download_is_an_error(programs: Path, tmp_path: Path) -> None:
    """Where apt-get fails, so does the command, and half a browser is not found."""
    add(programs, apt_get=OFFLINE, apt_cache=KNOWN, dpkg_deb=DPKG_DEB)
    with pytest.raises(subprocess.CalledProcessError, match="apt-get"):
        install(tmp_path / "new")
    assert find_chromium(tmp_path / "new") is None
