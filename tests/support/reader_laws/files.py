"""The laws of what is read from a disk: events, journals, checkpoints and recordings."""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from recording_files import HEADER, line_of
from sample_events import RUN, changed, closed, entered, line, notice, seen, task_entered

import rxflow
from reader_laws.law import Law, check_event
from rxflow import FlowRunEvent, InvalidEvent, InvalidJournal, InvalidRecording, NoticeCode
from rxflow._runtime import compression
from rxflow._runtime.checkpoint_format import (
    Checkpoint,
    DamagedCheckpoint,
    OtherFormat,
    decode_checkpoint,
    encode_checkpoint,
    new_checkpoint,
)
from rxflow._runtime.compression import NoZstandard, compressor_for
from rxflow._runtime.journal_file import JournalFile, ends_closed
from rxflow._runtime.recording_reader import RecordedEnd, RecordedPage, RecordingReader
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import WatchSpec

SPEC = WatchSpec(flow_run_id=RUN)
EVENTS: list[FlowRunEvent] = [
    *(seen(), entered("Pending"), line(1), line(1, "t\u00e9xt\u2028"), task_entered("Running", 2)),
    *(entered("Running", 2), changed("Running", 3), notice(NoticeCode.LATE_START, 3)),
    *(entered("Completed", 4), closed(5)),
]


def _events_seeds() -> list[bytes]:
    return [rxflow.encode_event(event) for event in EVENTS]


def check_decoded_event(data: bytes) -> None:
    """Some bytes are an event, or none."""
    try:
        event = rxflow.decode_event(data)
    except InvalidEvent as error:
        str(error)
        return
    check_event(event)


# -- files on a disk ------------------------------------------------------------------------------


_FOLDER = TemporaryDirectory(prefix="rxflow-")


def _file_of(data: bytes) -> Path:
    """Write some bytes as a file, in place of the one before."""
    path = Path(_FOLDER.name, "file")
    # Not emptied first: a file system may then force it to the disk, which takes milliseconds.
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()
    return path


# -- journals -------------------------------------------------------------------------------------


def check_journal(data: bytes) -> None:
    """What is read are the whole lines; the file is cut after them, or left as it is."""
    path = _file_of(data)
    try:
        events, end = _read_journal(path)
    except InvalidJournal as error:
        str(error)
        assert path.read_bytes() == data
        return
    lines = data[:end].split(b"\n")[1:-1]
    assert events == [rxflow.decode_event(each) for each in lines]
    assert b"\n" not in data[end:]
    assert path.read_bytes() == data[:end]
    for event in events:
        check_event(event)
    begun = data[: len(data) // 2]
    if b"\n" in begun:  # else its header is torn, too
        assert _read_journal(_file_of(begun))[0] == events[: begun.count(b"\n") - 1]


def _read_journal(path: Path, append: bytes = b"") -> tuple[list[FlowRunEvent], int]:
    file = JournalFile(str(path), SPEC, os.open)
    events: list[FlowRunEvent] = []
    try:
        opened = file.open()
        assert ends_closed(opened) in {True, False, None}
        opened.seek(0)
        file.check()
        while (part := file.read()) is not None:
            events += part
        if append:
            file.append(append)
        return events, file.end
    finally:
        file.close()


def _journal_seeds() -> list[bytes]:
    lines = [rxflow.encode_event(event) + b"\n" for event in EVENTS]
    path = _file_of(b"")
    _read_journal(path, b"".join(lines))
    whole = path.read_bytes()
    header = whole.partition(b"\n")[0] + b"\n"
    return [whole, whole[:-40], header, header[:20], header + lines[0]]


# -- checkpoints ----------------------------------------------------------------------------------

FIRST_LINE = b"rxflow-checkpoint 1\n"
URL = "http://fake.invalid/api"


def check_checkpoint(data: bytes) -> None:
    """Some bytes are read as a whole file, as what a checksum is of, and as the JSON in that."""
    for whole in (data, sealed(data), sealed(zlib.compress(data, 1))):
        try:
            checkpoint = decode_checkpoint(whole)
        except (DamagedCheckpoint, OtherFormat) as error:
            str(error)
        else:
            _check_state(checkpoint)


def sealed(content: bytes, first_line: bytes = FIRST_LINE) -> bytes:
    """Return some content as a file whose checksum is right."""
    return first_line + zlib.crc32(content, zlib.crc32(first_line)).to_bytes(4) + content


def _check_state(checkpoint: Checkpoint) -> None:
    again = decode_checkpoint(encode_checkpoint(checkpoint))
    assert again == checkpoint
    record = RunWatch(SPEC, RowLimit())
    record.load_emitted(checkpoint.state)
    record.save_emitted()


def _checkpoint_seeds() -> list[bytes]:
    record = RunWatch(SPEC, RowLimit())
    checkpoints = [record.save_emitted()]
    record.record_emitted(EVENTS[:-1])
    record.record_emitted([line(number, f"line {number}") for number in range(100)])
    checkpoints.append(record.save_emitted())
    record.record_emitted(EVENTS[-1:])
    checkpoints.append(record.save_emitted())
    files = [encode_checkpoint(new_checkpoint(SPEC, URL, state)) for state in checkpoints]
    contents = [file[len(FIRST_LINE) + 4 :] for file in files]
    return [*files, *contents, *map(zlib.decompress, contents)]


# -- compressed files -----------------------------------------------------------------------------

ZSTANDARD: dict[str, type[Any]] = {
    "compression.zstd": compression._StandardZstd,
    "backports.zstd": compression._StandardZstd,
    "zstandard": compression._ZstandardPackage,
}


def check_compressed(data: bytes) -> None:
    """Blocks are small, and the same with each package; damaged data says so."""
    for block in _blocks_of(compression.blocks_of, data):
        assert 0 < len(block) <= compression._BLOCK
    read = [
        b"".join(_blocks_of(partial(kind(import_module(name)).decompressed, data), b""))
        for name, kind in ZSTANDARD.items()
        if _is_installed(name)
    ]
    assert len(set(read)) <= 1


def _blocks_of(decompress: Callable[[BinaryIO], Iterator[bytes]], data: bytes) -> Iterator[bytes]:
    with suppress(compression.CorruptData, NoZstandard):
        yield from decompress(BytesIO(data))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


# -- recordings -----------------------------------------------------------------------------------

MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How compressed files begin."""

Replayed = tuple[list[tuple[float, FlowRunEvent]], Any]


def check_recording(data: bytes) -> None:
    """A file is read the same compressed, page by page or not, and written again and read."""
    read = _replay(data)
    events, end = read
    assert [at for at, _ in events] == sorted(at for at, _ in events)
    for _, event in events:
        check_event(event)
    if not data.startswith(MAGIC):
        for compressed in _compressed(data):
            assert _replay(compressed) == read
    assert [event for _, event in _replay(data, by_time=False)[0]] == [event for _, event in events]
    lines = [HEADER, *(line_of(at, event) for at, event in events)]
    if isinstance(end, tuple):
        lines.append(json.dumps(_last_line(*end)).encode() + b"\n")
    if events or isinstance(end, tuple):
        again = _replay(b"".join(lines))
        assert again[0] == events
        assert not isinstance(end, tuple) or again[1] == end


def _compressed(data: bytes) -> Iterator[bytes]:
    """Yield some bytes in each format for which there is a package."""
    for ending in (".gz", ".zst"):
        with suppress(NoZstandard):
            compressor = compressor_for(ending)
            assert compressor is not None
            yield compressor.add(data) + compressor.end()


def _replay(data: bytes, *, by_time: bool = True) -> Replayed:
    """Return what a file has, and how that ends: a tuple for a known end, else text."""
    found: list[tuple[float, FlowRunEvent]] = []
    path = str(_file_of(data))
    with closing(RecordingReader(path)) as reader:
        try:
            while isinstance(page := reader.next_page(by_time=by_time), RecordedPage):
                assert page.events
                found += [(page.at, event) for event in page.events]
        except InvalidRecording as error:
            return found, str(error)
    assert isinstance(page, RecordedEnd)
    if not page.is_known:
        return found, "it was left"
    return found, (page.at, page.error and type(page.error).__name__, str(page.error or ""))


def _last_line(at: float, error: str | None, message: str) -> dict[str, Any]:
    if error is None:
        return {"at": at, "completed": True}
    return {"at": at, "error": {"type": error, "message": message.removeprefix(f"{error}: ")}}


def _recording_seeds() -> list[bytes]:
    lines = [line_of(index // 2, event) for index, event in enumerate(EVENTS)]
    error = b'{"at":9.5,"error":{"type":"Unreachable","message":"gone"}}\n'
    whole = HEADER + b"".join(lines)
    ended, failed = whole + b'{"at":9.5,"completed":true}\n', whole + error
    packed = [*_compressed(ended)]
    two = [a + b for a, b in zip(_compressed(ended[:200]), _compressed(ended[200:]), strict=True)]
    return [ended, failed, whole[:-9], HEADER, *packed, *two, _journal_seeds()[0]]


def _compressed_seeds() -> list[bytes]:
    return [seed for seed in _recording_seeds() if seed.startswith(MAGIC)]


LAWS = (
    Law("events", check_decoded_event, _events_seeds),
    Law("journals", check_journal, _journal_seeds),
    Law("checkpoints", check_checkpoint, _checkpoint_seeds),
    Law("compressed files", check_compressed, _compressed_seeds),
    Law("recordings", check_recording, _recording_seeds),
)
