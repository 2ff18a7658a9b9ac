"""The format of a checkpoint: small, whole or refused, and never another state than was saved."""

import zlib
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import msgspec
import pytest

from rxflow import FlowRunLog
from rxflow._runtime.checkpoint_format import (
    Checkpoint,
    DamagedCheckpoint,
    OtherFormat,
    decode_checkpoint,
    encode_checkpoint,
    new_checkpoint,
)
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import WatchSpec

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
SPEC = WatchSpec(flow_run_id=RUN, since=datetime(2026, 11, 21, tzinfo=UTC), level=10)
START = datetime(2026, 11, 22, tzinfo=UTC)


def lines(begin: int, end: int) -> list[FlowRunLog]:
    """Return log lines, ten a second, with random ids and up to a second from log to table."""
    random = Random(begin)
    written = [START + timedelta(seconds=number / 10) for number in range(begin, end)]
    return [
        FlowRunLog(
            flow_run_id=RUN,
            id=str(UUID(int=random.getrandbits(128), version=4)),
            timestamp=time + timedelta(microseconds=random.randrange(100_000)),
            created=time + timedelta(microseconds=random.randrange(100_000, 1_000_000)),
            level=20,
            name="prefect.flow_runs",
            message="line",
        )
        for time in written
    ]


def checkpoint_of(record: RunWatch) -> Checkpoint:
    """Return a checkpoint of what a watch knows."""
    return new_checkpoint(SPEC, "http://fake.invalid/api", record.save_emitted())


@pytest.fixture(scope="module")
def data() -> bytes:
    """A small checkpoint."""
    record = RunWatch(SPEC, RowLimit())
    record.record_emitted(lines(0, 200))
    return encode_checkpoint(checkpoint_of(record))


def test_a_checkpoint_is_read_as_it_was_saved(data: bytes) -> None:
    """It says what was watched, and where."""
    read = decode_checkpoint(data)
    assert encode_checkpoint(read) == data
    assert (read.watched.flow_run_id, read.watched.level) == (RUN, 10)
    assert read.watched.since == SPEC.since
    assert read.state.order.log_count == 200
    others = [new_checkpoint(SPEC, url, read.state).api for url in ("http://a/api", "http://b/api")]
    assert len({read.api, *others}) == 3


def test_a_checkpoint_that_was_cut_off_is_refused(data: bytes) -> None:
    """Whatever its length, a part of it is no checkpoint."""
    for end in range(len(data)):
        with pytest.raises(DamagedCheckpoint):
            decode_checkpoint(data[:end])


def test_a_checkpoint_with_a_changed_byte_is_refused(data: bytes) -> None:
    """Whatever byte it is, and whichever of its bits."""
    for place in range(len(data)):
        for bits in (1, 0x80, 0xFF):
            changed = bytearray(data)
            changed[place] ^= bits
            with pytest.raises(DamagedCheckpoint):
                decode_checkpoint(bytes(changed))


def test_what_follows_a_checkpoint_is_refused(data: bytes) -> None:
    """A longer file was not written as it is."""
    with pytest.raises(DamagedCheckpoint):
        decode_checkpoint(data + b"\0")


def with_crc(magic: bytes, content: bytes) -> bytes:
    """Return a first line and what follows, with the checksum of both between them."""
    return magic + zlib.crc32(content, zlib.crc32(magic)).to_bytes(4) + content


def test_another_version_is_not_read(data: bytes) -> None:
    """It is whole, so that the error is about the version."""
    content = data[len(b"rxflow-checkpoint 1\n") + 4 :]
    assert with_crc(b"rxflow-checkpoint 1\n", content) == data
    with pytest.raises(OtherFormat, match="version 2, not 1"):
        decode_checkpoint(with_crc(b"rxflow-checkpoint 2\n", content))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", zlib.compress(b"{}"), zlib.compress(b"[" * 9000), zlib.compress(b"\xff")],
)
def test_content_that_is_none_is_refused(content: bytes) -> None:
    """A checksum says that it is what was written, and not that it can be read."""
    with pytest.raises(DamagedCheckpoint, match="content cannot be read"):
        decode_checkpoint(with_crc(b"rxflow-checkpoint 1\n", content))


def test_the_state_of_a_watch_without_events_is_saved() -> None:
    """There is neither a snapshot nor a floor then."""
    checkpoint = checkpoint_of(RunWatch(SPEC, RowLimit()))
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint
    assert msgspec.structs.astuple(checkpoint.state.order) == (None, None, None, 0)


@pytest.mark.long
def test_a_checkpoint_of_a_day_is_small() -> None:
    """With 864,000 lines it has 64 kB at most, and so it has at any time before."""
    record, sizes = RunWatch(SPEC, RowLimit()), list[int]()
    for begin in range(0, 864_000, 100):
        record.record_emitted(lines(begin, begin + 100))
        if begin % 14_400 == 0 or begin == 863_900:
            sizes.append(len(encode_checkpoint(checkpoint_of(record))))
    assert max(sizes) <= 64_000, sizes
    assert record.save_emitted().order.log_count == 864_000
