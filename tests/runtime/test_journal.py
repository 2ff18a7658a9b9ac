"""`Journal`: the file of a watch's events, its lock, and what the system says to both."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_files import events_in, header_of, largest_file
from virtual_world import TEST_TIMEOUT

from rxflow import (
    FlowRunEvent,
    FlowRunLog,
    InvalidJournal,
    JournalFailed,
    Notice,
    NoticeCode,
    encode_event,
)
from rxflow._runtime import journal_file
from rxflow._runtime.journal import Journal
from rxflow._watching.watch_spec import EventSource, WatchSpec

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHER_RUN = "00000000-0000-4000-8000-000000000000"
NOW = datetime(2026, 11, 22, 12, 0, 0, 5, UTC)
SPEC = WatchSpec(flow_run_id=RUN)


def line(number: int, *, run: str = RUN, text: str = "") -> FlowRunLog:
    """Return a log line."""
    return FlowRunLog(
        flow_run_id=run,
        id=f"00000000-0000-4000-8000-{number:012}",
        timestamp=NOW + timedelta(seconds=number),
        created=NOW,
        level=20,
        name="prefect.flow_runs",
        message=text or f"line {number}",
    )


LINES: list[FlowRunEvent] = [line(number) for number in range(5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "run.jsonl"


def opened(path: Path, spec: WatchSpec = SPEC) -> tuple[Journal, list[FlowRunEvent]]:
    """Open a journal and read it to its end; return it and the events that it had."""
    journal = Journal(str(path), spec)
    try:
        return journal, _read(journal)
    except Exception:
        journal.close()
        raise


def _read(journal: Journal) -> list[FlowRunEvent]:
    in_use = journal.open()
    if in_use is not None:
        raise in_use
    events: list[FlowRunEvent] = []
    while (part := journal.read()) is not None:
        events += part
    return events


def read_back(path: Path, spec: WatchSpec = SPEC) -> list[FlowRunEvent]:
    """Return the events that a watch which goes on from a journal would find in it."""
    journal, events = opened(path, spec)
    journal.close()
    return events


def written(path: Path, events: list[FlowRunEvent], spec: WatchSpec = SPEC) -> bytes:
    """Write a journal with some events; return its bytes."""
    journal, _ = opened(path, spec)
    assert journal.append(events)
    journal.close()
    return path.read_bytes()


def refusal(path: Path, spec: WatchSpec = SPEC) -> str:
    """Return the error of a file that is no journal of the watch, and is left as it is."""
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(InvalidJournal) as caught:
        opened(path, spec)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, times)
    return str(caught.value)


# -- writing and reading --------------------------------------------------------------------------


def test_a_journal_begins_with_what_is_watched(path: Path) -> None:
    """The first line has the format, the process, and all arguments that decide on the events."""
    spec = WatchSpec(
        flow_run_id=RUN,
        sources=frozenset({EventSource.LOGS, EventSource.TASKS, EventSource.NOTICES}),
        all_task_states=True,
        since=NOW,
        level=30,
    )
    opened(path, spec)[0].close()
    assert header_of(path) == {
        "rxflow_journal": 1,
        "pid": os.getpid(),
        "flow_run_id": RUN,
        "stream_states": False,
        "stream_logs": True,
        "stream_tasks": True,
        "task_states": "all",
        "since": "2026-11-22T12:00:00.000005Z",
        "level": 30,
    }
    assert read_back(path, spec) == []


def test_a_journal_is_for_its_owner_alone(path: Path) -> None:
    """It is created with mode 0600; the mode of a file that exists stays."""
    written(path, LINES)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    opened(path)[0].close()
    assert path.stat().st_mode & 0o777 == 0o640


@given(sizes=st.lists(st.integers(0, 4), max_size=6), text=st.text(min_size=1))
def test_what_was_appended_is_read_back(sizes: list[int], text: str) -> None:
    """However often the journal is opened, it has all events in their order."""
    with tempfile.TemporaryDirectory() as folder:
        path, appended = Path(folder) / "run.jsonl", list[FlowRunEvent]()
        for size in sizes:
            journal, events = opened(path)
            assert events == appended
            page = [line(len(appended) + number, text=text) for number in range(size)]
            assert journal.append(page)
            appended += page
            journal.close()
        assert read_back(path) == appended
        assert events_in(path) == appended


def test_a_journal_is_read_in_parts(path: Path) -> None:
    """No part has more than a few hundred events of usual size, wherever lines end in a block."""
    events: list[FlowRunEvent] = [line(number, text="x" * (number % 997)) for number in range(3000)]
    written(path, events)
    journal = Journal(str(path), SPEC)
    assert journal.open() is None
    parts: list[list[FlowRunEvent]] = []
    while (part := journal.read()) is not None:
        parts.append(part)
    journal.close()
    assert [event for part in parts for event in part] == events
    assert len(parts) > 5


def test_an_event_longer_than_a_block_is_read(path: Path) -> None:
    """A line of any length is one event."""
    long = line(1, text="x" * 1_000_000)
    written(path, [LINES[0], long, LINES[2]])
    assert read_back(path) == [LINES[0], long, LINES[2]]


def test_an_event_is_in_the_file_once_it_was_appended(path: Path) -> None:
    """It is there for other processes while the journal is open."""
    journal, _ = opened(path)
    for number in range(5):
        journal.append([LINES[number]])
        assert events_in(path) == LINES[: number + 1]
    journal.close()


def test_a_closed_journal_takes_nothing(path: Path) -> None:
    """It says so; closing it again and reading it does nothing."""
    journal, _ = opened(path)
    journal.close()
    journal.close()
    assert not journal.append(LINES)
    assert journal.read() is None
    assert journal.open() is None
    assert not journal.append(LINES)
    assert events_in(path) == []


# -- what a killed process left -------------------------------------------------------------------


def test_a_torn_last_line_is_dropped(path: Path) -> None:
    """Cut at any byte of its last line, a journal has the others, and goes on after them."""
    whole = written(path, LINES[:2])
    last = len(encode_event(LINES[1])) + 1
    for cut in range(1, last + 1):
        path.write_bytes(whole[:-cut])
        journal, events = opened(path)
        assert events == LINES[:1]
        journal.append(LINES[2:3])
        journal.close()
        assert events_in(path) == [LINES[0], LINES[2]]


def test_a_torn_header_is_written_again(path: Path) -> None:
    """Cut at any byte of its first line, a journal is new."""
    header = written(path, [])
    for end in range(len(header)):
        path.write_bytes(header[:end])
        assert read_back(path) == []
        assert path.read_bytes() == header


def test_a_killed_writer_leaves_what_it_appended(path: Path) -> None:
    """`kill -9` right after an event was appended takes neither the event nor the lock with it."""
    script = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]!r}
from test_journal import LINES, SPEC, opened
journal, _ = opened({str(path)!r})
journal.append(LINES)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=TEST_TIMEOUT)
    assert done.returncode == -9
    assert read_back(path) == LINES


# -- files that are refused -----------------------------------------------------------------------

FOREIGN: dict[str, bytes] = {
    "a text": b"name,level\nx,20\n",
    "a text without an end of line": b"notes",
    "an event": encode_event(LINES[0]) + b"\n",
    "a long line": b"x" * 10_000,
    "a long line that begins as a journal": b'{"rxflow_journal":1,"pid":' + b"1" * 10_000,
    "half a header": b'{"rxflow_journal":1,"pid":12}\n',
    "not UTF-8": b'{"rxflow_journal":1,"pid":"\xff"}\n',
    "deep": b"[" * 4000 + b"\n",
    "an empty line": b"\n",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused(what: str, path: Path) -> None:
    """A file that is not a journal is left as it is, and the error says what to do."""
    path.write_bytes(FOREIGN[what])
    text = refusal(path)
    assert "does not begin as a journal does" in text
    assert "pass the path of another journal, or move this file away" in text


def test_a_later_format_is_refused(path: Path) -> None:
    """A journal of another version is not read as if it were one of this."""
    path.write_bytes(written(path, LINES).replace(b'journal":1,', b'journal":2,'))
    assert "format is version 2, not 1" in refusal(path)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "run": ({"flow_run_id": OTHER_RUN}, f"flow_run_id='{RUN}' and not '{OTHER_RUN}'"),
    "level": ({"level": 30}, "level=0 and not 30"),
    "since": ({"since": NOW}, "since=None and not 2026-11-22T12:00:00.000005+00:00"),
    "streams": (
        {"sources": frozenset({EventSource.STATES, EventSource.NOTICES})},
        "stream_logs=True and not False; stream_tasks=True and not False",
    ),
    "task states": ({"all_task_states": True}, "task_states='latest' and not 'all'"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_journal_of_another_watch_is_refused(what: str, path: Path) -> None:
    """The error names each argument that differs."""
    written(path, LINES)
    changed, text = OTHERS[what]
    assert text in refusal(path, WatchSpec(**{"flow_run_id": RUN, **changed}))


def test_arguments_that_decide_on_no_event_may_differ(path: Path) -> None:
    """Limits and pauses are those of each watch."""
    written(path, LINES)
    spec = WatchSpec(flow_run_id=RUN, drain=1.0, max_duration=3.0, push=False)
    assert read_back(path, spec) == LINES


CORRUPT: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"\0\0\0", "line 3 is not an event"),
    "not an event": (b"{}", "line 3 is not an event"),
    "empty": (b"", "line 3 is not an event"),
    "of another run": (encode_event(line(1, run=OTHER_RUN)), "line 3 is an event of another watch"),
}


LATER: dict[str, bytes] = {
    "kind": b'{"kind":"heartbeat"}',
    "code": encode_event(
        Notice(flow_run_id=RUN, code=NoticeCode.DEGRADED, message="", timestamp=NOW)
    ).replace(b"degraded", b"sunny"),
}


def test_the_error_of_a_damaged_line_says_what_to_do(path: Path) -> None:
    """Nothing of versions, which are not the reason."""
    path.write_bytes(written(path, LINES) + b'{"kind":"log","torn{}\n')
    error = refusal(path)
    begin = f"The journal {str(path)!r} is damaged: its line 7 is not an event: "
    end = (
        ". The file was left as it is; remove that line, whose event then comes again if the "
        "server still has it, or pass the path of another journal"
    )
    assert error.startswith(begin)
    assert error.endswith(end)
    assert "version" not in error.removeprefix(begin).removesuffix(end)


@pytest.mark.parametrize("what", LATER)
def test_the_error_of_a_line_of_a_later_version_says_so(what: str, path: Path) -> None:
    """Such a line is not to be removed."""
    path.write_bytes(written(path, LINES) + LATER[what] + b"\n")
    error = refusal(path)
    assert "its line 7 is not an event that is known here: Invalid" in error
    assert error.endswith(
        "The file was left as it is; use the version of rxflow that wrote it, or pass the path of "
        "another journal"
    )


@pytest.mark.parametrize("what", CORRUPT)
@pytest.mark.parametrize("torn", [b"", b"{"], ids=["whole", "torn"])
def test_a_damaged_journal_is_refused(what: str, torn: bytes, path: Path) -> None:
    """The error names the line, and nothing is cut off, a torn last line neither."""
    header, *lines = written(path, LINES).split(b"\n")
    bad, text = CORRUPT[what]
    path.write_bytes(b"\n".join([header, lines[0], bad, *lines[1:]]) + torn)
    assert text in refusal(path)


def test_a_line_without_end_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory whole."""
    monkeypatch.setattr(journal_file, "_MOST_LINE", 2**20)
    path.write_bytes(written(path, LINES) + b" " * 3_000_000)
    assert "its line 7 has more than 1 MiB" in refusal(path)


def test_an_event_of_another_stream_is_refused(path: Path) -> None:
    """A log line in the journal of a watch of states alone is not one of its events."""
    spec = WatchSpec(flow_run_id=RUN, sources=frozenset({EventSource.STATES, EventSource.NOTICES}))
    written(path, LINES, spec)
    assert "line 2 is an event of another watch" in refusal(path, spec)


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda folder: folder / "none" / "run.jsonl", "No such file or directory"),
    "a folder": (lambda folder: folder, "Is a directory"),
    "a loop": (lambda folder: _link_to_itself(folder / "loop"), "Too many levels"),
}


def _link_to_itself(path: Path) -> Path:
    path.symlink_to(path)
    return path


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_path_that_cannot_be_opened_is_an_error(what: str, tmp_path: Path) -> None:
    """The error has the path and the system's reason, and no folder is created."""
    make, reason = UNUSABLE[what]
    path = make(tmp_path)
    with pytest.raises(JournalFailed, match=reason) as caught:
        opened(path)
    assert repr(str(path)) in str(caught.value)
    assert not caught.value.is_full
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("device", ["/dev/null", "fifo"])
def test_what_cannot_be_read_back_is_refused(device: str, tmp_path: Path) -> None:
    """A journal is a regular file; a pipe or a device keeps nothing."""
    path = Path(device) if device.startswith("/") else tmp_path / device
    if not path.exists():
        os.mkfifo(path)
    with pytest.raises(InvalidJournal, match="not a regular file"):
        opened(path)


# -- the lock -------------------------------------------------------------------------------------


def test_a_journal_has_one_writer(path: Path) -> None:
    """Two watches of one process exclude each other, whichever path the file has."""
    journal, _ = opened(path)
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(JournalFailed, match="in use by another watch of this process; end that"):
        opened(link)
    assert journal.append(LINES)
    journal.close()
    assert read_back(path) == LINES


HOLDER = """
import sys
sys.path[:0] = {folders!r}
from test_journal import opened
from pathlib import Path
journal, _ = opened(Path({path!r}))
print(flush=True)
sys.stdin.readline()
"""


def test_the_error_of_a_locked_journal_has_the_process(path: Path) -> None:
    """It names the process that has the file now, and not the one that created it."""
    written(path, LINES)
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    script = HOLDER.format(folders=folders, path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(JournalFailed, match=f"another watch, of process {holder.pid}; end"):
            opened(path)
        holder.kill()
    assert read_back(path) == LINES


def test_a_locked_file_without_a_header_names_no_process(path: Path) -> None:
    """Someone else's lock is respected, whatever the file has in it."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(JournalFailed, match="in use by another watch; end that one first"):
            opened(path)


def test_a_forked_child_leaves_the_journal_to_the_parent(path: Path) -> None:
    """The child neither writes nor unlocks it, and does not keep it locked after the parent."""
    script = f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]!r}
from pathlib import Path
from rxflow import JournalFailed
from test_journal import LINES, opened
path = Path({str(path)!r})
journal, _ = opened(path)
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    good = not journal.append(LINES[:1])
    journal.close()
    os.write(ready[1], b"+" if good else b"-")
    os.read(go[0], 1)
    os._exit(0)
assert os.read(ready[0], 1) == b"+"
try:
    opened(path)
    sys.exit("the child unlocked it")
except JournalFailed:
    pass
journal.append(LINES)
journal.close()
second, events = opened(path)
second.close()
os.write(go[1], b"x")
os.waitpid(child, 0)
assert events == LINES
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_keeps_whole_pages(path: Path) -> None:
    """Wherever in a page the disk is full, the error says so and none of the page is kept."""
    before = len(written(path, LINES[:1]))
    page = LINES[1:3]
    size = sum(len(encode_event(event)) + 1 for event in page)
    for room in (0, 1, size // 2, size - 1):
        journal, _ = opened(path)
        with largest_file(before + room):
            with pytest.raises(JournalFailed, match="cannot be written: File too large") as caught:
                journal.append(page)
            assert caught.value.is_full
        assert events_in(path) == LINES[:1]
        journal.close()
    journal, _ = opened(path)
    with largest_file(before + size):
        assert journal.append(page)
    journal.close()
    assert events_in(path) == LINES[:3]


def test_a_journal_goes_on_when_there_is_room_again(path: Path) -> None:
    """After an error the same journal can be appended to, at the end of what it has."""
    journal, _ = opened(path)
    assert journal.append(LINES[:1])
    with largest_file(path.stat().st_size + 10), pytest.raises(JournalFailed):
        journal.append(LINES[1:2])
    assert journal.append(LINES[1:3])
    journal.close()
    assert events_in(path) == LINES[:3]


def test_a_journal_that_cannot_be_created_leaves_an_empty_file(path: Path) -> None:
    """A later watch takes it as a new one."""
    with largest_file(20), pytest.raises(JournalFailed) as caught:
        opened(path)
    assert caught.value.is_full
    assert path.read_bytes() == b""
    assert written(path, LINES)


def test_notices_are_events_of_a_journal(path: Path) -> None:
    """All kinds of events of one run are kept."""
    notice = Notice(flow_run_id=RUN, code=NoticeCode.DEGRADED, message="", timestamp=NOW)
    written(path, [notice, *LINES])
    assert read_back(path) == [notice, *LINES]
