"""The spool: packed pages, in memory up to a budget and then in a file, and what it refuses."""

import gc
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from sample_events import line
from virtual_world import World

from rxflow import FlowRunEvent, Overflow, decode_event, watch_flow_runs
from rxflow._runtime.page_spool import PageSpool

RECORDED = Path(__file__).parents[1] / "recorded" / "events.jsonl"

Page = tuple[FlowRunEvent, ...]


def page_of(number: int) -> Page:
    """Return a page of two lines."""
    return line(number, f"line {number}"), line(number, f"second line {number}")


def recorded() -> Page:
    """Return the recorded events, of all kinds but one."""
    return tuple(map(decode_event, RECORDED.read_text("utf-8").splitlines()))


@pytest.mark.long
@pytest.mark.parametrize("budget", [0, 10_000_000], ids=["file", "memory"])
def test_a_page_comes_back_equal(budget: int, world: World) -> None:
    """Events of all kinds, from memory and from the file."""
    runs = [world.add_finished_run() for _ in range(3)]
    pages = [recorded(), tuple(watch_flow_runs(runs, client=world.client)), page_of(1)]
    spool = PageSpool(budget)
    slots = [spool.put(page) for page in pages]
    assert len(set(map(type, (*pages[0], *pages[1])))) == 8
    assert [isinstance(slot, bytes) for slot in slots] == [budget > 0] * 3
    assert [spool.get(slot) for slot in reversed(slots)] == pages[::-1]


def test_pages_beyond_the_budget_are_in_the_file() -> None:
    """Memory that is released is used again."""
    first = PageSpool().put(page_of(0))
    spool = PageSpool(memory_budget=len(first) + 20)
    slots = [spool.put(page_of(number)) for number in range(3)]
    assert [isinstance(slot, bytes) for slot in slots] == [True, False, False]
    spool.release(slots[0])
    slots[0] = spool.put(page_of(3))
    assert isinstance(slots[0], bytes)
    assert [spool.get(slot) for slot in slots] == [page_of(3), page_of(1), page_of(2)]


def test_the_file_is_emptied_once_all_is_released() -> None:
    """So that it does not grow while its pages are read as fast as they come."""
    spool = PageSpool(memory_budget=0)
    for number in range(100):
        slots = [spool.put(page_of(number)), spool.put(page_of(number + 1))]
        assert [spool.get(slot) for slot in slots] == [page_of(number), page_of(number + 1)]
        for slot in slots:
            spool.release(slot)
        offsets = [slot.offset for slot in slots if not isinstance(slot, bytes)]
        assert offsets[0] == 0
        slots.clear()
    del spool
    gc.collect()  # a file left open causes a warning, and warnings are errors


def test_a_page_that_is_released_while_another_is_written_loses_none() -> None:
    """A finalizer may release the last page of the file at any moment of a write."""
    spool = PageSpool(memory_budget=0)
    slot = spool.put(page_of(0))
    assert not isinstance(slot, bytes)
    file = slot.file._file

    class ReleasingFile:
        """Releases the first page when the second is written."""

        seek, read, truncate = file.seek, file.read, file.truncate

        def write(self, data: bytes) -> int:
            written = file.write(data)
            spool.release(slot)
            return written

    vars(slot.file)["_file"] = ReleasingFile()
    assert spool.get(spool.put(page_of(1))) == page_of(1)


class FullDisk:
    """A file of a full disk, which takes a part of what is written, and cannot be read."""

    def __init__(self, **_: Any) -> None:
        """Take any options."""

    def seek(self, offset: int) -> None:
        """Do nothing."""

    def write(self, data: bytes) -> int:
        """Take all but one byte."""
        return len(data) - 1

    def close(self) -> None:
        """Do nothing."""


def test_a_full_disk_is_an_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where the events were to be kept; so does a file that cannot be opened or read."""
    monkeypatch.setattr("tempfile.TemporaryFile", FullDisk)
    with pytest.raises(Overflow, match=r"temporary file, .*No space left.*TMPDIR") as caught:
        PageSpool(memory_budget=0).put(page_of(0))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == ENOSPC


def test_a_file_that_cannot_be_read_is_an_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its disk is gone."""
    spool = PageSpool(memory_budget=0)
    slot = spool.put(page_of(0))
    assert not isinstance(slot, bytes)

    def fail(offset: int, length: int) -> bytes:
        raise OSError(EIO, f"cannot read {length} bytes at {offset}")

    monkeypatch.setattr(slot.file, "read", fail)
    with pytest.raises(Overflow, match=r"cannot read \d+ bytes at 0"):
        spool.get(slot)
