"""How configuration files are read, and how broken ones are rejected."""

import os
from errno import ENAMETOOLONG

import pytest
from prefect_installation import URL, Installation


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("home/.prefect/profiles.toml", "active = [\n", "is not valid TOML (at end of document)"),
        ("cwd/prefect.toml", "[api]\nurl = x", "is not valid TOML (at line 2, column 7)"),
        ("cwd/pyproject.toml", "[tool", "is not valid TOML"),
    ],
)
def test_a_broken_file_is_named(bare: Installation, name: str, text: str, part: str) -> None:
    """A broken file is an error that names it, even if the URL comes from another source."""
    bare.write(name, text)
    message = bare.error({"PREFECT_API_URL": URL})
    assert part in message
    assert str(bare.root / name) in message


def test_an_unreadable_file_is_named(bare: Installation) -> None:
    """A file that is not text, or cannot be read, is an error that names it."""
    path = bare.cwd / ".env"
    path.write_bytes(b"PREFECT_API_URL=\xff")
    assert bare.error() == (
        f"{path} cannot be read: it is not UTF-8 text. Make it readable, or remove it."
    )
    path.unlink()
    path.symlink_to("x" * 300)
    assert bare.error() == (
        f"{path} cannot be read: {os.strerror(ENAMETOOLONG)}. Make it readable, or remove it."
    )


HOSTILE_TOML = {
    "nested lists": "a = " + "[" * 100_000,
    "nested tables": "a = " + "{a=" * 100_000,
    "a long number": "a = " + "9" * 10_000,
    "a long key": "a" + ".a" * 2_000 + " = 1\n[a" + ".a" * 2_000 + ".b]",
    "a long file": "# " + "x" * 2**21,
}


@pytest.mark.parametrize("text", HOSTILE_TOML.values(), ids=HOSTILE_TOML)
@pytest.mark.parametrize("name", ["cwd/prefect.toml", "home/.prefect/profiles.toml"])
def test_a_hostile_file_is_named(bare: Installation, name: str, text: str) -> None:
    """A file that no user writes, deep or huge, is an error that names it, and never another."""
    bare.write(name, text)
    assert str(bare.root / name) in bare.error({"PREFECT_API_URL": URL})
