"""Compress files that are read again while they grow, and read them as far as they go.

What was compressed is flushed piece by piece, so that a reader gets each piece once it is written.
A file that ends in the middle, as when its writer was killed, is read up to there.

Belongs here: gzip, and Zstandard where Python or a package has it. Does not belong here: what is
compressed.
"""

import zlib
from collections.abc import Generator, Iterator
from importlib import import_module
from typing import Any, BinaryIO, Protocol

_BLOCK = 256 * 1024  # bytes that are read, or decompressed, at once
_GZIP = zlib.MAX_WBITS | 16  # zlib's name for the format of gzip
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class CorruptData(Exception):
    """Compressed data is damaged; `args` say how."""


class NoZstandard(Exception):
    """Neither this Python nor a package has Zstandard."""


class Compressor(Protocol):
    """Compresses the pieces of one file."""

    def add(self, piece: bytes) -> bytes:
        """Return what is to be written for a piece, all of it."""
        ...

    def end(self) -> bytes:
        """Return what is to be written at the end."""
        ...


def compressor_for(path: str) -> Compressor | None:
    """Return a compressor for a file by the end of its name: ``.gz``, ``.zst``, else None.

    Raises:
        NoZstandard: The name ends in ``.zst``, and there is no Zstandard.
    """
    if path.endswith(".gz"):
        return _Gzip()
    return _zstandard().compressor() if path.endswith(".zst") else None


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the contents of a file in blocks, decompressed if its first bytes are of a format.

    Args:
        file: The file, at its beginning; unbuffered or not.

    Raises:
        CorruptData: What is compressed is damaged.
        NoZstandard: It is compressed by Zstandard, and there is none.
        OSError: The file cannot be read.
    """
    head = file.read(_BLOCK)
    if head.startswith(_GZIP_MAGIC):
        yield from _gunzipped(head, file)
    elif head.startswith(_ZSTD_MAGIC):
        yield from _zstandard().decompressed(head, file)
    else:
        while head:
            yield head
            head = file.read(_BLOCK)


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(wbits=_GZIP)

    def add(self, piece: bytes) -> bytes:
        return self._stream.compress(piece) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._stream.flush()


def _gunzipped(data: bytes, file: BinaryIO) -> Generator[bytes]:
    member = zlib.decompressobj(_GZIP)
    try:
        while data:
            if block := member.decompress(data, _BLOCK):
                yield block
            if member.eof:  # another one may follow, as where files were joined by cat
                data, member = member.unused_data, zlib.decompressobj(_GZIP)
            else:
                data = member.unconsumed_tail
            data = data or file.read(_BLOCK)
        if block := member.flush():
            yield block
    except zlib.error as error:
        raise CorruptData(str(error)) from error


# -- Zstandard ------------------------------------------------------------------------------------


class _Zstandard(Protocol):
    def compressor(self) -> Compressor: ...

    def decompressed(self, data: bytes, file: BinaryIO) -> Generator[bytes]: ...


def _zstandard() -> _Zstandard:
    """Return Zstandard, of the standard library from Python 3.14 on, or of a package.

    Raises:
        NoZstandard: There is none.
    """
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            module = import_module(name)
        except ImportError:
            continue
        return _ZstandardPackage(module) if name == "zstandard" else _StandardZstd(module)
    raise NoZstandard(
        "no Zstandard is installed; install the package zstandard, use Python 3.14, or use a file "
        "compressed by gzip, whose name ends in .gz"
    )


class _StandardZstd:
    """The module ``compression.zstd``, and the package that has it for earlier versions."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def compressor(self) -> Compressor:
        return _StandardZstdCompressor(self._module)

    def decompressed(self, data: bytes, file: BinaryIO) -> Generator[bytes]:
        frame = self._module.ZstdDecompressor()
        try:
            while data or not frame.needs_input:
                if block := frame.decompress(data, _BLOCK):
                    yield block
                data = b""
                if frame.eof:  # another one may follow
                    data, frame = frame.unused_data, self._module.ZstdDecompressor()
                if not data and frame.needs_input:
                    data = file.read(_BLOCK)
        except self._module.ZstdError as error:
            raise CorruptData(str(error)) from error


class _StandardZstdCompressor:
    def __init__(self, module: Any) -> None:
        self._stream: Any = module.ZstdCompressor()

    def add(self, piece: bytes) -> bytes:
        compressed: bytes = self._stream.compress(piece, self._stream.FLUSH_BLOCK)
        return compressed

    def end(self) -> bytes:
        last: bytes = self._stream.flush()
        return last


class _ZstandardPackage:
    """The package ``zstandard``."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def compressor(self) -> Compressor:
        return _ZstandardPackageCompressor(self._module)

    def decompressed(self, data: bytes, file: BinaryIO) -> Generator[bytes]:
        reader = self._module.ZstdDecompressor().stream_reader(
            _Joined(data, file), read_across_frames=True
        )
        try:
            # Not `read`: it fills a block from several frames, and loses all of them where the
            # last one is damaged.
            while block := reader.read1(_BLOCK):
                yield block
        except self._module.ZstdError as error:
            raise CorruptData(str(error)) from error


class _ZstandardPackageCompressor:
    def __init__(self, module: Any) -> None:
        self._flush_block: int = module.COMPRESSOBJ_FLUSH_BLOCK
        self._stream: Any = module.ZstdCompressor().compressobj()

    def add(self, piece: bytes) -> bytes:
        compressed: bytes = self._stream.compress(piece) + self._stream.flush(self._flush_block)
        return compressed

    def end(self) -> bytes:
        last: bytes = self._stream.flush()
        return last


class _Joined:
    """A file of which the beginning was read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def read(self, size: int) -> bytes:
        if not self._head:
            return self._file.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data
