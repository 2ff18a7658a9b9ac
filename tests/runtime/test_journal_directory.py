"""`JournalDirectory`: the files of many runs, their lock, and what the system says to both."""

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

import pytest
from journal_files import events_in, header_of, largest_file
from sink_pipelines import is_open
from virtual_world import TEST_TIMEOUT

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    InvalidJournal,
    JournalFailed,
    Notice,
    NoticeCode,
    encode_event,
)
from rxflow._runtime.journal import Journal
from rxflow._runtime.journal_directory import LOCK_NAME, MOST_OPEN, JournalDirectory
from rxflow._runtime.locked_files import unlock
from rxflow._watching.watch_spec import WatchSpec

NOW = datetime(2026, 11, 22, 12, 0, 0, 5, UTC)
SPEC = WatchSpec(flow_run_id="")


def run_id(number: int) -> str:
    """Return the id of a run."""
    return f"9e6caafc-4ea1-4493-b0a9-{number:012}"


RUN, OTHER = run_id(1), run_id(2)


def line(number: int, run: str = RUN, text: str = "") -> FlowRunLog:
    """Return a log line of a run."""
    return FlowRunLog(
        flow_run_id=run,
        id=f"00000000-0000-4000-8000-{number:012}",
        timestamp=NOW + timedelta(seconds=number),
        created=NOW,
        level=20,
        name="prefect.flow_runs",
        message=text or f"line {number}",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a directory that does not exist yet."""
    return tmp_path / "nightly"


@contextmanager
def opened(path: Path, spec: WatchSpec = SPEC) -> Iterator[JournalDirectory]:
    """Open a directory."""
    journal = JournalDirectory(str(path), spec)
    in_use = journal.open()
    if in_use is not None:
        raise in_use
    try:
        yield journal
    finally:
        journal.close()


def read(journal: JournalDirectory, run: str = RUN) -> list[FlowRunEvent]:
    """Return the events of a run."""
    events: list[FlowRunEvent] = []
    while (part := journal.read(run)) is not None:
        events += part
    return events


def file_of(path: Path, run: str = RUN) -> Path:
    """Return the path of the file of a run."""
    return path / f"{run}.jsonl"


# -- files ----------------------------------------------------------------------------------------


def test_each_run_has_a_file_of_its_events(path: Path) -> None:
    """A page of several runs is divided, and each file is one that a watch of that run has."""
    page = [line(0), line(1, OTHER), line(2), line(3, OTHER)]
    with opened(path) as journal:
        assert read(journal) == read(journal, OTHER) == []
        assert journal.append(page)
        assert events_in(file_of(path)) == [page[0], page[2]]
    assert events_in(file_of(path, OTHER)) == [page[1], page[3]]
    assert header_of(file_of(path))["flow_run_id"] == RUN
    assert header_of(file_of(path))["pid"] == os.getpid()
    with opened(path) as journal:
        assert read(journal) == [page[0], page[2]]
        assert journal.append([line(4)])
    assert events_in(file_of(path)) == [page[0], page[2], line(4)]


def test_what_has_no_event_has_no_file(path: Path) -> None:
    """Events that name no run are in none, and a run that was only read has none."""
    notice = Notice(flow_run_id="", code=NoticeCode.DEGRADED, message="", timestamp=NOW)
    with opened(path) as journal:
        assert read(journal) == []
        assert journal.append([notice, AllClosed(flow_run_id="", timestamp=NOW)])
    assert [each.name for each in path.iterdir()] == [LOCK_NAME]


def test_files_are_for_their_owner_alone(path: Path) -> None:
    """The directory is created with mode 0700 and its files with 0600; modes of others stay."""
    with opened(path) as journal:
        journal.append([line(0)])
    assert path.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in path.iterdir()} == {0o600}
    path.chmod(0o750)
    with opened(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o750


def open_files() -> int:
    """Return how many file descriptors this process has."""
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")
def test_the_files_that_are_open_are_few(path: Path) -> None:
    """However many runs there are, and in whichever order they have events."""
    runs = [run_id(number) for number in range(5 * MOST_OPEN)]
    before, most = open_files(), 0
    with opened(path) as journal:
        for number in range(3):
            for run in runs[:: 1 - 2 * (number % 2)]:
                if number == 0:
                    assert read(journal, run) == []
                journal.append([line(number, run)])
                most = max(most, open_files())
        journal.append([line(4, run) for run in runs])
        assert open_files() <= before + MOST_OPEN + 2
    assert most <= before + MOST_OPEN + 2
    assert open_files() == before
    for run in runs:
        assert events_in(file_of(path, run)) == [line(number, run) for number in (0, 1, 2, 4)]


def test_many_runs_need_few_descriptors(path: Path) -> None:
    """A process that may open a hundred files writes and reads the journals of a thousand runs."""
    script = f"""
import resource, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]!r}
from pathlib import Path
from test_journal_directory import line, opened, read, run_id
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
path = Path({str(path)!r})
for number in range(2):
    with opened(path) as journal:
        for run in map(run_id, range(1000)):
            assert len(read(journal, run)) == number
        journal.append([line(number, run_id(each)) for each in range(1000)])
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=TEST_TIMEOUT)
    assert done.returncode == 0
    assert len(list(path.glob("*.jsonl"))) == 1000


def test_the_directory_is_the_same_wherever_the_process_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is that of the beginning."""
    monkeypatch.chdir(path.parent)
    (path.parent / "other").mkdir()
    with opened(Path(path.name)) as journal:
        monkeypatch.chdir("other")
        journal.append([line(0)])
    assert events_in(file_of(path)) == [line(0)]


def test_a_closed_run_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is forced there with `Closed`, and closed; those of the others at the end."""
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink().stem)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with opened(path) as journal:
        journal.append([line(0), line(1, OTHER), closed(OTHER)])
        assert synced == [OTHER]
        assert not is_open(file_of(path, OTHER))
        assert is_open(file_of(path))
    assert synced == [OTHER, RUN]
    assert events_in(file_of(path, OTHER)) == [line(1, OTHER), closed(OTHER)]


def test_a_closed_directory_takes_nothing(path: Path) -> None:
    """It says so; closing it again and reading it does nothing."""
    with opened(path) as journal:
        journal.append([line(0)])
    journal.close()
    assert not journal.append([line(1)])
    assert journal.read(RUN) is None
    assert journal.open() is None
    assert not journal.append([line(1)])
    assert events_in(file_of(path)) == [line(0)]


def test_very_many_files_are_forced_to_the_disk_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that is left does not wait for thousands of files, one after the other."""
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    for runs in (MOST_OPEN, MOST_OPEN + 1):
        with opened(path) as journal:
            for number in range(runs):
                read(journal, run_id(number))
            journal.append([line(runs, run_id(number)) for number in range(runs)])
    assert calls == ["fsync"] * MOST_OPEN + ["sync"]


def closed(run: str = RUN) -> Closed:
    """Return the last event of a run."""
    return Closed(flow_run_id=run, timestamp=NOW, state=None, verified=True, log_count=0)


@pytest.mark.parametrize("size", [1, 32 * 1024 - 200, 32 * 1024, 300_000])
def test_the_runs_that_are_not_closed_are_known(size: int, path: Path) -> None:
    """By the last whole line of each file, however long it is, and whatever was being written."""
    long = "x" * size
    with opened(path) as journal:
        journal.append([line(0), line(1, OTHER, text=long), closed(OTHER)])
        journal.append([line(0, run_id(3)), closed(run_id(3)), line(1, run_id(3), text=long)])
        journal.append([line(0, run_id(4)), closed(run_id(4))])
    with file_of(path, run_id(4)).open("ab") as file:
        file.write(b'{"kind":"log"')
    file_of(path, run_id(5)).write_bytes(file_of(path).read_bytes().split(b"\n")[0] + b"\n")
    file_of(path, run_id(6)).touch()
    (path / "notes.jsonl").write_text("notes\n")
    (path / f"{run_id(7)}.json").write_text("notes\n")
    with opened(path) as journal:
        assert journal.unclosed() == [RUN, run_id(3)]
    assert journal.unclosed() == []


def test_a_torn_last_line_is_dropped(path: Path) -> None:
    """That of the run that was appended to when the process was killed."""
    with opened(path) as journal:
        journal.append([line(0), line(1)])
    whole = file_of(path).read_bytes()
    for cut in (1, 30, len(encode_event(line(1))) + 1):
        file_of(path).write_bytes(whole[:-cut])
        with opened(path) as journal:
            assert read(journal) == [line(0)]
            journal.append([line(2)])
        assert events_in(file_of(path)) == [line(0), line(2)]


def test_a_torn_header_is_written_again(path: Path) -> None:
    """Cut at any byte of its first line, the file is new."""
    with opened(path) as journal:
        journal.append([line(0)])
    header = file_of(path).read_bytes().split(b"\n")[0]
    for end in range(len(header)):
        file_of(path).write_bytes(header[:end])
        with opened(path) as journal:
            assert read(journal) == []
            journal.append([line(1)])
        assert events_in(file_of(path)) == [line(1)]


# -- what is refused ------------------------------------------------------------------------------

FOREIGN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a text": (lambda _: b"notes\n", "does not begin as a journal does"),
    "of another run": (lambda raw: raw.replace(b"-000000000001", b"-000000000009"), "flow_run_id="),
    "of another level": (lambda raw: raw.replace(b'"level":0', b'"level":9', 1), "level=9 and not"),
    "damaged": (lambda raw: raw + b"{}\n", "its line 3 is not an event"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_another_watch_is_refused(what: str, path: Path) -> None:
    """The error names the file and says what to do, and the file stays as it is."""
    change, text = FOREIGN[what]
    with opened(path) as journal:
        journal.append([line(0)])
    content = change(file_of(path).read_bytes())
    file_of(path).write_bytes(content)
    with opened(path) as journal, pytest.raises(InvalidJournal, match=text) as caught:
        read(journal)
    assert str(file_of(path)) in str(caught.value)
    remedies = ("pass the same arg", "move this file away", "remove that line")
    assert any(remedy in str(caught.value) for remedy in remedies)
    assert "the path of another directory" in str(caught.value)
    assert file_of(path).read_bytes() == content


def test_a_link_is_not_followed(path: Path) -> None:
    """Neither to be read nor to be created: a directory may be writable for others."""
    path.mkdir()
    target = path.parent / "target"
    file_of(path).symlink_to(target)
    with opened(path) as journal:
        with pytest.raises(JournalFailed, match="cannot be read: Too many levels"):
            read(journal)
        with pytest.raises(JournalFailed, match="cannot be written: Too many levels"):
            journal.append([line(0)])
    assert not target.exists()


@pytest.mark.parametrize("known", [True, False], ids=["open", "not open"])
def test_a_file_that_someone_else_writes_is_left_alone(known: bool, path: Path) -> None:
    """Where the file is opened again, all that it has must be of this watch."""
    journal = JournalDirectory(str(path), SPEC)
    assert journal.open() is None
    others = [run_id(10 + number) for number in range(MOST_OPEN)]
    if known:
        journal.append([line(0)])
    journal.append([line(1, run) for run in others])
    with file_of(path).open("ab") as file:
        file.write(b"{}\n")
    content = file_of(path).read_bytes()
    with pytest.raises(JournalFailed, match="was changed by someone else"):
        journal.append([line(2, others[0]), line(2)])
    assert file_of(path).read_bytes() == content
    journal.close()
    assert events_in(file_of(path, others[0])) == [line(1, others[0])]
    with opened(path):
        pass


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file": (lambda folder: _touched(folder / "file"), "is not a directory; .* pass the path of"),
    "below a file": (lambda folder: _touched(folder / "file") / "x", "is not a directory"),
    "no folder": (lambda folder: folder / "none" / "x", "cannot be opened: No such file"),
}


def _touched(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_path_that_cannot_be_a_directory_is_an_error(what: str, tmp_path: Path) -> None:
    """The error has the path and what to do, or the system's reason."""
    make, reason = UNUSABLE[what]
    path = make(tmp_path)
    with pytest.raises(JournalFailed, match=reason) as caught, opened(path):
        pass
    assert repr(str(path)) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("mode", [0o500, 0o300])
def test_a_directory_without_permission_is_an_error(mode: int, path: Path) -> None:
    """Whether it may not be written or not be read."""
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(JournalFailed, match="cannot be opened: Permission denied"), opened(path):
        pass


@pytest.mark.parametrize("name", [LOCK_NAME, f"{RUN}.jsonl"])
def test_what_the_system_refuses_is_an_error(name: str, path: Path) -> None:
    """The error has the path and the system's reason; nothing stays open."""
    (path / name).mkdir(parents=True)
    before = open_files()
    with pytest.raises(JournalFailed, match="Is a directory"), opened(path) as journal:
        read(journal)
    assert open_files() == before


# -- the lock -------------------------------------------------------------------------------------


def test_a_directory_has_one_writer(path: Path) -> None:
    """Two watches of one process exclude each other."""
    with opened(path) as journal:
        with (
            pytest.raises(JournalFailed, match="in use by another watch of this process; end that"),
            opened(path),
        ):
            pass
        assert journal.append([line(0)])
    with opened(path) as journal:
        assert read(journal) == [line(0)]


HOLDER = """
import sys
sys.path[:0] = {folders!r}
from test_journal_directory import opened
from pathlib import Path
with opened(Path({path!r})):
    print(flush=True)
    sys.stdin.readline()
"""


def test_the_error_of_a_locked_directory_has_the_process(path: Path) -> None:
    """The lock ends with the process, however that ends."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    script = HOLDER.format(folders=folders, path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        wanted = f"another watch, of process {holder.pid}; end that one first, or pass the path of"
        with pytest.raises(JournalFailed, match=wanted), opened(path):
            pass
        holder.kill()
    with opened(path):
        pass


def test_a_lock_of_someone_else_is_respected(path: Path) -> None:
    """Whatever the file has in it."""
    path.mkdir()
    with (path / LOCK_NAME).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(JournalFailed, match="in use by another watch; end"), opened(path):
            pass


def run_program(path: Path, program: str) -> None:
    """Run a program, which may fork, in a process of its own; it knows ``path`` and this module."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    script = f"""
import os, sys
sys.path[:0] = {folders!r}
from pathlib import Path
from rxflow import JournalFailed
from test_journal_directory import file_of, line, opened, opened_file, read
path = Path({str(path)!r})
{program}"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- a directory, and one file of it --------------------------------------------------------------


def opened_file(path: Path, run: str = RUN) -> Journal:
    """Open the journal of a watch of one run."""
    journal = Journal(str(path), WatchSpec(flow_run_id=run))
    in_use = journal.open()
    if in_use is not None:
        raise in_use
    try:
        while journal.read() is not None:
            pass
    except Exception:
        journal.close()
        raise
    return journal


@pytest.mark.parametrize("is_link", [False, True], ids=["file", "link"])
@pytest.mark.parametrize("events", [0, 1], ids=["none", "open"])
def test_a_file_of_a_directory_that_is_watched_is_refused(
    path: Path, tmp_path: Path, events: int, *, is_link: bool
) -> None:
    """Also one that the watch of the directory has not opened; that one goes on."""
    given = file_of(path)
    if is_link:
        given = tmp_path / "link"
        given.symlink_to(file_of(path))
    with opened(path) as journal:
        journal.append([line(0)] * events)
        with pytest.raises(JournalFailed, match="in use by another watch of this process; end"):
            opened_file(given)
        assert file_of(path).exists() == bool(events)
        journal.append([line(1)])
    opened_file(given).close()
    assert events_in(file_of(path)) == [line(0)] * events + [line(1)]


def test_a_file_that_a_directory_has_closed_is_refused(path: Path) -> None:
    """Of many runs most files are closed, and go on later."""
    runs = [run_id(number) for number in range(MOST_OPEN + 1)]
    with opened(path) as journal:
        for run in runs:
            journal.append([line(0, run)])
        with pytest.raises(JournalFailed, match="in use by another watch of this process"):
            opened_file(file_of(path, runs[0]), runs[0])
        journal.append([line(1, runs[0])])
    assert events_in(file_of(path, runs[0])) == [line(0, runs[0]), line(1, runs[0])]


def test_a_watch_of_the_directory_goes_on_as_soon_as_it_is_unlocked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the files are unlocked as well."""

    def unlock_and_go_on(file: FileIO) -> None:
        monkeypatch.undo()
        unlock(file)
        with opened(path) as following:
            assert read(following) == [line(0)]
            following.append([line(1)])

    with opened(path) as journal:
        journal.append([line(0)])
        monkeypatch.setattr("rxflow._runtime.journal_directory.unlock", unlock_and_go_on)
    assert events_in(file_of(path)) == [line(0), line(1)]


@pytest.mark.parametrize(
    "use",
    [read, lambda journal: journal.append([line(9)])],
    ids=["read", "append"],
)
def test_a_directory_refuses_a_file_that_is_watched(
    path: Path, use: Callable[[JournalDirectory], object]
) -> None:
    """A watch of one run that began before the directory was one keeps its file, and its line."""
    path.mkdir()
    own = opened_file(file_of(path))
    with file_of(path).open("ab") as file:
        file.write(b'{"kind":"log","torn')  # a line that the watch of the file is writing
    before = file_of(path).read_bytes()
    with opened(path) as journal:
        with pytest.raises(JournalFailed) as caught:
            use(journal)
        assert file_of(path).read_bytes() == before
        assert journal.append([line(0, OTHER)])
    own.close()
    assert str(caught.value) == (
        f"The journal {str(file_of(path))!r} is in use by another watch of this process; end that "
        "one first, or pass the path of another directory"
    )
    with opened(path) as journal:
        assert read(journal) == []


def test_a_directory_is_refused_while_a_file_of_it_is_watched(path: Path) -> None:
    """Once it has a lock, before any file is opened; files of it do not exclude each other."""
    with opened(path):
        pass
    first, second = opened_file(file_of(path)), opened_file(file_of(path, OTHER), OTHER)
    for journal in (first, second):
        with (
            pytest.raises(JournalFailed, match="in use by another watch of this process; end that"),
            opened(path),
        ):
            pass
        journal.close()
    with opened(path):
        pass


def test_a_file_of_another_name_is_not_of_the_directory(path: Path) -> None:
    """A watch of the directory uses files that are named by a run's id."""
    with opened(path) as journal:
        own = opened_file(path / "mine.jsonl")
        assert own.append([line(0)])
        assert journal.append([line(1)])
        own.close()
    assert events_in(path / "mine.jsonl") == [line(0)]
    assert events_in(file_of(path)) == [line(1)]


def opened_file_of(path: Path) -> None:
    """Open the file of a directory."""
    opened_file(file_of(path)).close()


def opened_and_read(path: Path) -> None:
    """Open a directory, and the file in it."""
    with opened(path) as journal:
        read(journal)


FILE_HOLDER = """
import sys
sys.path[:0] = {folders!r}
from test_journal_directory import file_of, opened_file
from pathlib import Path
journal = opened_file(file_of(Path({path!r})))
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("has_lock", [False, True], ids=["without a lock", "with a lock"])
@pytest.mark.parametrize("holder", ["directory", "file"])
def test_the_error_has_the_process_of_the_other_one(
    path: Path, holder: str, *, has_lock: bool
) -> None:
    """That of the watch that goes on, and not one that an earlier watch has left in a file."""
    path.mkdir()
    if has_lock:
        with opened(path) as journal:
            journal.append([line(0)])
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
    script = HOLDER if holder == "directory" else FILE_HOLDER
    with subprocess.Popen(
        [sys.executable, "-c", script.format(folders=folders, path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begin = opened_and_read if holder == "file" else opened_file_of
        with pytest.raises(JournalFailed, match=f"another watch, of process {process.pid}; end"):
            begin(path)
        process.kill()


def test_a_forked_child_leaves_the_lock_of_a_file_to_the_parent(path: Path) -> None:
    """The child does not unlock the directory, and does not keep it locked after the parent."""
    run_program(
        path,
        """
with opened(path):
    pass
ready, go = os.pipe(), os.pipe()
own = opened_file(file_of(path))
child = os.fork()
if child == 0:
    own.close()
    os.write(ready[1], b"+")
    os.read(go[0], 1)
    os._exit(0)
assert os.read(ready[0], 1) == b"+"
try:
    with opened(path):
        sys.exit("the child unlocked it")
except JournalFailed:
    pass
own.append([line(0)])
own.close()
with opened(path) as journal:
    assert read(journal) == [line(0)]
os.write(go[1], b"x")
os.waitpid(child, 0)
""",
    )


# -- forks ----------------------------------------------------------------------------------------


def test_a_forked_child_leaves_the_directory_to_the_parent(path: Path) -> None:
    """The child neither writes nor unlocks it, and does not keep it locked after the parent."""
    run_program(
        path,
        """
ready, go = os.pipe(), os.pipe()
with opened(path) as journal:
    journal.append([line(0)])
    child = os.fork()
    if child == 0:
        good = not journal.append([line(9)])
        journal.close()
        os.write(ready[1], b"+" if good else b"-")
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"+"
    try:
        with opened(path):
            sys.exit("the child unlocked it")
    except JournalFailed:
        pass
    journal.append([line(1)])
with opened(path) as journal:
    assert read(journal) == [line(0), line(1)]
os.write(go[1], b"x")
os.waitpid(child, 0)
""",
    )


# -- a full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [2, MOST_OPEN + 9])
def test_a_full_disk_keeps_whole_pages(runs: int, path: Path) -> None:
    """Where one run's events do not fit, none of the page is kept, of no other run either."""
    ids = [run_id(number) for number in range(runs)]
    with opened(path) as journal:
        journal.append([line(0, run) for run in ids])
        before = {run: file_of(path, run).read_bytes() for run in ids}
        room = len(before[ids[0]]) + 2000
        page = [*(line(1, run) for run in ids[:-1]), line(1, ids[-1], text="x" * 3000)]
        with largest_file(room):
            with pytest.raises(JournalFailed, match="cannot be written: File too la") as caught:
                journal.append(page)
            assert caught.value.is_full
            assert str(file_of(path, ids[-1])) in str(caught.value)
        assert {run: file_of(path, run).read_bytes() for run in ids} == before
        assert journal.append(page)
    assert all(len(events_in(file_of(path, run))) == 2 for run in ids)


def test_no_room_for_a_new_file_leaves_it_empty(path: Path) -> None:
    """A later watch takes it as a new one."""
    with opened(path) as journal:
        with largest_file(20), pytest.raises(JournalFailed):
            journal.append([line(0)])
        assert file_of(path).read_bytes() == b""
        assert journal.append([line(0)])
    assert events_in(file_of(path)) == [line(0)]


def test_no_descriptor_is_an_error_of_the_system(path: Path) -> None:
    """It is none about a full disk."""
    with opened(path) as journal:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(JournalFailed, match="Too many open files") as caught:
                journal.append([line(0)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not caught.value.is_full
