"""How configuration files are read, and how broken ones are rejected."""

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
    assert str(path) in bare.error()
