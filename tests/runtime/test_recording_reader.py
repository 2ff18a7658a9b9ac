"""`RecordingReader`: which files can be replayed, how far, and what is said of the others."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from journal_files import events_in
from recording_files import HEADER, line_of
from sample_events import RUN, closed, entered, line, seen

import rxflow
from rxflow import (
    FlowRunEvent,
    InvalidRecording,
    RecordingFailed,
    StateType,
    encode_event,
    replay,
)
from rxflow._runtime import recording_reader
from rxflow._runtime.recording_reader import RecordedEnd, RecordedPage, RecordingReader
from rxflow.testing import FakePrefect3, VirtualTime

EVENTS: list[FlowRunEvent] = [seen(), entered("Running", 1), line(2), line(3), closed(4)]
LINES = [line_of(index / 2, event) for index, event in enumerate(EVENTS)]
END = b'{"at":7.5,"completed":true}\n'
ERROR = b'{"at":7.5,"error":{"type":"Unreachable","message":"gone"}}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "night.jsonl"


def read(path: Path, *, by_time: bool = True) -> tuple[list[RecordedPage], RecordedEnd]:
    """Return the pages of a file and its end."""
    reader = RecordingReader(str(path))
    pages: list[RecordedPage] = []
    try:
        while isinstance(page := reader.next_page(by_time=by_time), RecordedPage):
            pages.append(page)
    finally:
        reader.close()
    assert page is not None
    return pages, page


def events_of(pages: list[RecordedPage]) -> list[FlowRunEvent]:
    """Return the events of pages."""
    return [event for page in pages for event in page.events]


# -- pages ----------------------------------------------------------------------------------------


def test_events_of_one_time_and_source_are_a_page(path: Path) -> None:
    """Of one time, log lines and states are apart; of different times, all are."""
    moments: list[tuple[float, FlowRunEvent]] = [
        (1, entered("A", 1)),
        (1, line(1)),
        (1, line(2)),
        (2, line(3)),
    ]
    path.write_bytes(HEADER + b"".join(line_of(at, event) for at, event in moments) + END)
    pages, end = read(path)
    assert [(page.at, len(page.events)) for page in pages] == [(1, 1), (1, 2), (2, 1)]
    assert (end.at, end.error, end.is_known) == (7.5, None, True)


def test_pages_that_are_read_at_once_are_whole(path: Path) -> None:
    """Without times a page has up to 200 events of one source."""
    path.write_bytes(HEADER + b"".join(line_of(number, line(number)) for number in range(450)))
    pages, _ = read(path, by_time=False)
    assert [len(page.events) for page in pages] == [200, 200, 50]


def test_closed_ends_a_page(path: Path) -> None:
    """What follows the end of a run is in a page of its own."""
    path.write_bytes(HEADER + line_of(1, closed(1)) + line_of(1, closed(2)))
    assert [len(page.events) for page in read(path)[0]] == [1, 1]


def test_memory_is_bounded(path: Path) -> None:
    """A file of 60 MB is read with a few of them, at any moment."""
    with path.open("wb") as file:
        file.write(HEADER)
        for number in range(3_000):
            file.write(line_of(number, line(number, "x" * 20_000)))
    tracemalloc.start()
    try:
        count = rxflow.replay(path, None).run_to_end()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 3_000
    assert peak < 20_000_000


# -- torn files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [LINES[-1], END, ERROR], ids=["event", "completed", "error"])
def test_a_last_line_torn_at_any_byte_is_left_out(last: bytes, path: Path) -> None:
    """The events before it are there, and the replay completes; without its newline it is whole."""
    whole = HEADER + b"".join(LINES[:-1])
    for cut in range(len(last) - 1):
        path.write_bytes(whole + last[:cut])
        pages, end = read(path)
        assert events_of(pages) == EVENTS[:-1]
        assert (end.error, end.is_known) == (None, False)
    path.write_bytes(whole + last[:-1])
    pages, end = read(path)
    assert len(events_of(pages)) + end.is_known == len(EVENTS)


def test_a_gzip_cut_at_any_byte_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Each cut leaves a prefix of the events, or too little to be a recording; none is wrong."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.log(run, "a line")
    server.set_state(run, "COMPLETED")
    watch = rxflow.watch_flow_run(run, drain=0, client=server.client())
    whole = list(watch.record(tmp_path / "whole.gz"))
    data, cut = (tmp_path / "whole.gz").read_bytes(), tmp_path / "cut"
    counts: list[int] = []
    refused = 0
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        try:
            events = list(replay(cut, None))
        except InvalidRecording:
            refused = size
            continue
        assert events == whole[: len(events)]
        counts.append(len(events))
    assert refused == len(data) - len(counts)  # the sizes without a whole first line
    assert counts == sorted(counts)
    assert {0, len(whole)} <= set(counts)
    assert len(set(counts)) > 3  # each page was flushed


def test_gzips_that_were_joined_are_one_file(path: Path) -> None:
    """As gzip itself reads them."""
    halves = (HEADER + LINES[0], b"".join(LINES[1:]))
    path.write_bytes(b"".join(map(gzip.compress, halves)))
    assert events_of(read(path)[0]) == EVENTS


def test_a_damaged_gzip_is_refused_where_it_is_damaged(path: Path) -> None:
    """The events before the damage come first."""
    data = gzip.compress(HEADER + LINES[0]) + b"\x1f\x8bgarbage"
    path.write_bytes(data)
    with pytest.raises(InvalidRecording, match=r"from its line 3 on: .* is damaged"):
        read(path)


# -- hostile lines --------------------------------------------------------------------------------

EVENT = encode_event(line())
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "not a line of a recording"),
    "no object": (b"[]", "not a line of a recording"),
    "nothing": (b"", "not a line of a recording"),
    "zeros": (b"\0" * 50, "not a line of a recording"),
    "not UTF-8": (b'{"at":1,"error":{"type":"\xff","message":""}}', "not a line"),
    "no time": (b'{"event":%s}' % EVENT, "missing required field `at`"),
    "a time of text": (b'{"at":"1","event":%s}' % EVENT, "Expected `float`"),
    "NaN": (b'{"at":NaN,"event":%s}' % EVENT, "not a line of a recording"),
    "infinity": (b'{"at":Infinity,"event":%s}' % EVENT, "not a line of a recording"),
    "beyond all numbers": (b'{"at":1e999,"event":%s}' % EVENT, "out of range"),
    "a huge time": (b'{"at":1e300,"event":%s}' % EVENT, "not between 0 and 1000000000 seconds"),
    "many digits": (b'{"at":%s,"event":%s}' % (b"9" * 400, EVENT), "not"),
    "a negative time": (b'{"at":-0.5,"event":%s}' % EVENT, "not between 0 and"),
    "an earlier time": (b'{"at":1.5,"event":%s}' % EVENT, "earlier than 2.0, that of the line"),
    "only a time": (b'{"at":3}', "not one of event, error and completed"),
    "two of them": (b'{"at":3,"completed":true,"event":%s}' % EVENT, "not one of event, error"),
    "an unfinished end": (b'{"at":3,"completed":false}', "not one of event, error"),
    "no event": (b'{"at":3,"event":{"kind":"log"}}', "it is not an event"),
    "null": (b'{"at":3,"event":null}', "it is not an event"),
    "an unknown kind": (b'{"at":3,"event":{"kind":"new"}}', "use the version of rxflow that"),
    "a deep one": (b'{"at":3,"event":' + b"[" * 10**6, "not a line of a recording"),
    "a deep event": (
        b'{"at":3,"event":{"kind":"log","x":%s%s}}' % (b"[" * 10**5, b"]" * 10**5),
        "it is not|not a line",
    ),
}


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_malformed_line_is_refused_by_its_number(hostile: bytes, reason: str, path: Path) -> None:
    """The events before it are emitted; the error says which line it is, why, and what to do."""
    path.write_bytes(HEADER + line_of(1, line(1)) + line_of(2, line(2)) + hostile + b"\n" + END)
    emitted: list[FlowRunEvent] = []
    with pytest.raises(InvalidRecording, match=reason) as raised:
        emitted.extend(replay(path, None))
    assert emitted == [line(1), line(2)]
    assert "from its line 4 on" in str(raised.value)
    assert "copy the first 3 lines" in str(raised.value)
    assert len(str(raised.value)) < 700


def test_nothing_may_follow_the_end(path: Path) -> None:
    """Two recordings that were joined are refused at the first line of the second."""
    path.write_bytes(HEADER + LINES[0] + END + HEADER)
    with pytest.raises(InvalidRecording, match="line 4 on: it follows the end of the stream"):
        read(path)


def test_a_line_without_end_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory whole."""
    monkeypatch.setattr(recording_reader, "MOST_LINE", 2**20)
    path.write_bytes(HEADER + b" " * 3_000_000)
    with pytest.raises(InvalidRecording, match="line 2 on: it has more than 1 MiB"):
        read(path)


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "text": (b"hello\nworld\n", "does not begin as a recording does"),
    "events alone": (encode_event(line()) + b"\n", "does not begin as a recording does"),
    "a torn header": (HEADER[:30], "ends in its first line"),
    "a later version": (b'{"rxflow_recording":2}\n', "is version 2, not 1; use the version of"),
    "a later journal": (b'{"rxflow_journal":2}\n', "is version 2, not 1"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0", "does not begin as a recording does"),
}


@pytest.mark.parametrize(("data", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_another_file_is_refused(data: bytes, reason: str, path: Path) -> None:
    """The error says why, and which files can be replayed."""
    path.write_bytes(data)
    with pytest.raises(InvalidRecording, match=reason) as raised:
        list(replay(path))
    assert "Pass a file that rxflow.record or a watch with a journal" in str(raised.value)


def test_a_file_that_cannot_be_read_is_an_error(path: Path, tmp_path: Path) -> None:
    """A missing file and a folder are named, with what the system says."""
    with pytest.raises(RecordingFailed, match=r"night.jsonl' cannot be read: No such file"):
        list(replay(path))
    with pytest.raises(RecordingFailed, match="Is a directory; pass one of the files in it"):
        list(replay(tmp_path))


# -- journals -------------------------------------------------------------------------------------


def test_a_journal_is_replayed_by_the_times_of_its_events(path: Path) -> None:
    """An event comes at its own time; one that is earlier than one before it, with that one."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run = server.add_run()
    server.script(run, [(10, StateType.RUNNING), (20, "a line"), (60, StateType.COMPLETED)])
    time.collect(rxflow.watch_flow_run(run, journal=path, client=server.client()))
    pages, end = read(path)
    assert events_of(pages) == events_in(path)
    assert [page.at for page in pages] == sorted(page.at for page in pages)
    first = pages[0].events[0].timestamp
    (logged,) = (page for page in pages if page.events[0].kind == "log")
    assert logged.at == (logged.events[0].timestamp - first).total_seconds()
    assert not end.is_known


def test_a_torn_journal_is_replayed_to_its_last_whole_line(path: Path) -> None:
    """As a watch would go on from it; but a line in the middle that is no event is refused."""
    header = b'{"rxflow_journal":1,"pid":1,"flow_run_id":"%s"}\n' % RUN.encode()
    whole = header + encode_event(EVENTS[0]) + b"\n"
    path.write_bytes(whole + encode_event(EVENTS[1])[:-5])
    assert list(replay(path)) == EVENTS[:1]
    path.write_bytes(whole + b"hello\n" + encode_event(EVENTS[1]) + b"\n")
    with pytest.raises(InvalidRecording, match="line 3 on: it is not an event"):
        list(replay(path))


def test_an_event_of_a_journal_comes_no_earlier_than_those_before_it(path: Path) -> None:
    """One whose writer's clock is behind, or ahead by years, does not break the order."""
    header = b'{"rxflow_journal":1,"pid":1,"flow_run_id":"%s"}\n' % RUN.encode()
    events: list[FlowRunEvent] = [line(0), line(7), line(3), line(1e10), closed(9)]
    path.write_bytes(header + b"".join(encode_event(event) + b"\n" for event in events))
    pages, _ = read(path)
    assert [page.at for page in pages] == [0.0, 7.0, 1e9, 1e9]
