"""Compression: each piece can be read once it was written, and what is missing is said."""

import gzip
import io
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._runtime import compression
from rxflow._runtime.compression import CorruptData, NoZstandard, blocks_of, compressor_for


def _has_zstandard() -> bool:
    try:
        compressor_for("a.zst")
    except NoZstandard:
        return False
    return True


each_name = pytest.mark.parametrize(
    "name",
    [
        "a.gz",
        pytest.param(
            "a.zst", marks=pytest.mark.skipif(not _has_zstandard(), reason="needs Zstandard")
        ),
    ],
)


def read(data: bytes) -> bytes:
    """Return what a file holds."""
    return b"".join(blocks_of(io.BytesIO(data)))


@each_name
@given(pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=5), data=st.data())
def test_each_piece_can_be_read_once_it_is_added(
    name: str, pieces: list[bytes], data: st.DataObject
) -> None:
    """Without the end all pieces are there, and of a cut file a beginning of them."""
    compressor: Any = compressor_for(name)
    written = b""
    for number, piece in enumerate(pieces, 1):
        written += compressor.add(piece)
        assert read(written) == b"".join(pieces[:number])
    whole = b"".join(pieces)
    size = data.draw(st.integers(0, len(written)))
    if size > 3:  # with fewer bytes it is not known to be compressed
        assert whole.startswith(read(written[:size]))
    assert read(written + compressor.end()) == whole


@each_name
def test_blocks_are_bounded(name: str) -> None:
    """A file that becomes a thousand times as long is read in blocks of 256 KiB."""
    compressor: Any = compressor_for(name)
    data = compressor.add(bytes(50_000_000)) + compressor.end()
    sizes = [len(block) for block in blocks_of(io.BytesIO(data))]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 256 * 1024


def test_gzip_writes_what_gzip_reads() -> None:
    """The format is that of the program."""
    compressor: Any = compressor_for("night.jsonl.gz")
    assert gzip.decompress(compressor.add(b"hello") + compressor.end()) == b"hello"


def test_other_names_are_not_compressed() -> None:
    """A file of any other name is written as it is."""
    assert compressor_for("night.jsonl") is None


DAMAGED = {
    "a header": b"\x1f\x8bgarbage",
    "a checksum": gzip.compress(b"hello", mtime=0)[:-8] + bytes(8),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_an_error(data: bytes) -> None:
    """What no compressor has written is not taken for the end of the file."""
    with pytest.raises(CorruptData):
        read(data)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


@pytest.mark.parametrize(
    ("module", "zstandard"),
    [
        ("compression.zstd", compression._StandardZstd),
        ("backports.zstd", compression._StandardZstd),
        ("zstandard", compression._ZstandardPackage),
    ],
)
def test_a_file_before_a_damaged_one_is_read_with_each_package(
    module: str, zstandard: type[Any]
) -> None:
    """Of files joined by cat, whichever package reads them."""
    if not _is_installed(module):
        pytest.skip(f"needs {module}")
    package = zstandard(import_module(module))
    compressor = package.compressor()
    first = compressor.add(b"hello") + compressor.end()
    found: list[bytes] = []
    with pytest.raises(CorruptData):
        found.extend(package.decompressed(first + b"damage", io.BytesIO()))
    assert found == [b"hello"]


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Zstandard the error names the package, and what does without it."""

    def find(name: str) -> object:
        if "zst" in name:
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(compression, "import_module", find)
    with pytest.raises(NoZstandard, match=r"install the package zstandard, .* ends in \.gz"):
        compressor_for("night.jsonl.zst")
    with pytest.raises(NoZstandard, match="install the package zstandard"):
        read(b"\x28\xb5\x2f\xfd and more")
